/** The log file of a server that `gitmesh up` runs. */
import { closeSync, existsSync, fstatSync, openSync, readSync, renameSync, statSync } from "node:fs";

const logBytesMax = 64 * 1024 * 1024;
const tailBytes = 64 * 1024;

/** Opens it to write at its end; one that has grown large is kept once as FILE.1. `size` is where this life begins. */
export function openLog(path: string): { readonly file: number; readonly size: number } {
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > logBytesMax) renameSync(path, `${path}.1`);
  const file = openSync(path, "a", 0o600);
  return { file, size: fstatSync(file).size };
}

/** The last line after `start` in words for people: servers write JSON, but what stops their start is a plain sentence. */
export function lastLogLine(path: string, start: number): string {
  const line = tail(path, start).trimEnd().split("\n").at(-1) ?? "";
  if (line === "") return "it said nothing";
  try {
    const entry = JSON.parse(line) as { msg?: string; err?: { message?: string } };
    return [entry.msg, entry.err?.message].filter((part) => part !== undefined).join(": ") || line;
  } catch {
    return line;
  }
}

/** "" when the file is gone. */
function tail(path: string, start: number): string {
  if (!existsSync(path)) return "";
  const file = openSync(path, "r");
  try {
    const from = Math.max(start, fstatSync(file).size - tailBytes);
    const buffer = Buffer.alloc(tailBytes);
    return buffer.toString("utf8", 0, readSync(file, buffer, 0, tailBytes, from));
  } finally {
    closeSync(file);
  }
}
