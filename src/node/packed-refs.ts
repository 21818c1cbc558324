/**
 * The file packed-refs of a replica (gitformat: git-pack-refs(1), refs/packed-backend.c): all refs that are not loose,
 * sorted by name. Many changes at once are one file here, where git would write one for each.
 */
import { open, readFile, rename, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { crashPoint } from "../base/crash-point.ts";
import { GitmeshError } from "../base/errors.ts";
import type { RefUpdate } from "../protocol/node-api.ts";
import { refNameToBytes, type RefName } from "../protocol/ref-name.ts";
import { syncDirectory } from "./durable-file.ts";

/** What tags point to is not in what is written here, so it is not said that it is (no "peeled"). */
const header = "# pack-refs with: sorted \n";
const parallelRemovals = 32;
const line = /^[0-9a-f]{40,64} (refs\/.+)$/;

/**
 * Makes these changes in packed-refs, and removes the loose refs that would hide them. The changes are durable when it
 * resolves, but for the directories of the loose ones. Throws what the file system throws, and GitmeshError "git-failed"
 * for a packed-refs that is none.
 */
export async function writePackedRefs(directory: string, updates: readonly RefUpdate[]): Promise<void> {
  const path = join(directory, "packed-refs");
  const lock = `${path}.lock`;
  const changes = new Map(updates);
  const file = await open(lock, "wx");
  try {
    try {
      const old = await readFile(path, "latin1").catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") return "";
        throw error;
      });
      await file.writeFile(changed(old, changes), "latin1");
      await file.sync();
    } finally {
      await file.close();
    }
    crashPoint("refs.packed");
    await rename(lock, path);
  } catch (error) {
    await rm(lock, { force: true });
    throw error;
  }
  // Before the loose ones go: a ref must not be lost with the name of this file.
  await syncDirectory(directory);
  crashPoint("refs.part-written");
  const deleted = updates.filter(([, oid]) => oid === null);
  const others = updates.filter(([, oid]) => oid !== null);
  // A deleted ref may be the directory's last that another one now has the name of.
  for (const part of [deleted, others]) await removeLoose(directory, part);
}

/** The file's text after the changes. */
function changed(old: string, changes: ReadonlyMap<RefName, string | null>): string {
  const refs = new Map<RefName, string>();
  let last: RefName | undefined;
  for (const text of old.split("\n")) {
    if (text === "" || text.startsWith("#")) continue;
    if (text.startsWith("^")) {
      if (last !== undefined) refs.set(last, `${refs.get(last) ?? ""}${text}\n`);
      continue;
    }
    const name = line.exec(text)?.[1];
    if (name === undefined) throw new GitmeshError("git-failed", "packed-refs cannot be read");
    // What is said below it belongs to the value that is gone.
    last = changes.has(name) ? undefined : name;
    if (last !== undefined) refs.set(name, `${text}\n`);
  }
  for (const [name, oid] of changes) if (oid !== null) refs.set(name, `${oid} ${name}\n`);
  // Names are byte strings: their order as strings is that of their bytes.
  const names = [...refs.keys()].toSorted((one, other) => (one < other ? -1 : 1));
  return header + names.map((name) => refs.get(name) ?? "").join("");
}

async function removeLoose(directory: string, updates: readonly RefUpdate[]): Promise<void> {
  for (let start = 0; start < updates.length; start += parallelRemovals) {
    const part = updates.slice(start, start + parallelRemovals);
    await Promise.all(part.map((update) => removeOne(directory, update)));
  }
}

async function removeOne(directory: string, [name, oid]: RefUpdate): Promise<void> {
  const path = (text: string): Buffer => Buffer.concat([Buffer.from(`${directory}/`), refNameToBytes(text)]);
  try {
    await rm(path(name));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const isDirectory = code === "ERR_FS_EISDIR" || code === "EISDIR";
    if (code === "ENOENT" || (oid === null && (isDirectory || code === "ENOTDIR"))) return;
    // For a ref that is to be there, a file above it is in the way, and so is a directory that something is in.
    if (!isDirectory) throw error;
    await rmdir(path(name));
  }
  // As git does it: directories that nothing is in any more, down from refs/heads/.
  const parts = name.split("/");
  for (let depth = parts.length - 1; depth > 2; depth -= 1) {
    const removed = await rmdir(path(parts.slice(0, depth).join("/"))).then(
      () => true,
      () => false,
    );
    if (!removed) break;
  }
}
