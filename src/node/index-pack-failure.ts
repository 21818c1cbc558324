/** Whose fault a failed index-pack is: a bad pack says nothing about the node, a full disk nothing about the client. */
import type { GitExit } from "./git.ts";

/** What the operating system says of disks, memory and files. */
const nodeTrouble = [
  "No space left on device",
  "Out of diskspace",
  "Input/output error",
  "Read-only file system",
  "Disk quota exceeded",
  "Permission denied",
  "Too many open files",
  "Stale file handle",
  "No such file or directory",
  "Device or resource busy",
  "Out of memory",
  "Cannot allocate memory",
  "Resource temporarily unavailable",
  "Connection reset by peer",
  "unable to create thread",
  "unable to create temporary file",
  "unable to write",
  "unable to sync",
  "cannot pwrite",
  "cannot fstat",
  "cannot store",
  "cannot open packfile",
  "cannot fork",
  "fsync error",
  "error writing",
];

export function isNodeFailure(exit: GitExit): boolean {
  return exit.code === null || nodeTrouble.some((words) => exit.stderr.includes(words));
}

/** git's words for a bad pack, on one line, without "fatal:". */
export function badPackMessage(stderr: string): string {
  return gitMessage(stderr) || "index-pack abnormal exit";
}

/** What git says went wrong: its first error and its end, without progress; "" when it says nothing. */
export function gitMessage(stderr: string): string {
  const lines = stderr.split(/[\r\n]+/);
  const error = lines.find((line) => line.startsWith("error: "));
  const fatal = lines.find((line) => line.startsWith("fatal: "));
  return [error, fatal]
    .filter((line) => line !== undefined)
    .map((line) => line.replace(/^(?:error|fatal): /, ""))
    .join(": ")
    .slice(0, 500);
}
