/** Directories that survive a power loss. For the start of a server: these calls block. */
import { closeSync, fsyncSync, mkdirSync, openSync, statSync } from "node:fs";
import { dirname } from "node:path";

/**
 * Makes a directory with its parents, and their names durable. (Node's own recursive mkdir never ends where a file
 * system refuses with ENOENT, as /proc does.)
 */
export function makeDirectoryDurably(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return;
  const parent = dirname(path);
  if (parent !== path) makeDirectoryDurably(parent);
  mkdirSync(path);
  fsyncDirectory(parent);
}

/** Makes the names in a directory durable (what was created, renamed or removed in it). */
export function fsyncDirectory(path: string): void {
  const directory = openSync(path, "r");
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}
