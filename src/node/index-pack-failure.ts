/** Whose fault a failed index-pack is: a bad pack says nothing about the node, a full disk nothing about the client. */
import type { GitExit } from "./git.ts";

/** What the operating system says of disks, memory and files. */
const nodeTrouble =
  /No space left on device|Input\/output error|Read-only file system|Disk quota exceeded|Permission denied|Too many open files|Out of memory|out of memory|Cannot allocate memory|unable to create temporary file|cannot pwrite|cannot fstat|unable to create thread|No such file or directory/;

export function isNodeFailure(exit: GitExit): boolean {
  return exit.code === null || nodeTrouble.test(exit.stderr);
}

/** git's words for a bad pack, on one line, without "fatal:". */
export function badPackMessage(stderr: string): string {
  const lines = stderr
    .split(/[\r\n]+/)
    .filter((line) => line !== "" && !/^(?:Receiving|Resolving|Indexing) /.test(line));
  const error = lines.find((line) => line.startsWith("error: "));
  const fatal = lines.find((line) => line.startsWith("fatal: "));
  return (
    [error, fatal]
      .filter((line) => line !== undefined)
      .map((line) => line.replace(/^(?:error|fatal): /, ""))
      .join(": ")
      .slice(0, 500) || "index-pack abnormal exit"
  );
}
