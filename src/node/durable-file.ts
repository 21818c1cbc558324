/** Files that survive a power loss once the promise resolves. */
import { open, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { crashPoint } from "../base/crash-point.ts";

/** Replaces a file as a whole: after a crash it has its old content or the new. */
export async function writeFileDurably(path: string, content: string | Uint8Array): Promise<void> {
  const building = `${path}.new`;
  const file = await open(building, "w");
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  crashPoint("file.written");
  await rename(building, path);
  crashPoint("file.renamed");
  await syncDirectory(dirname(path));
}

/** Makes the names in a directory durable (what was created, renamed or removed in it). */
export async function syncDirectory(path: string | Buffer): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
