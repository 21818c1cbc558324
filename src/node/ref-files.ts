/**
 * The files of a replica's refs, touched past git where git itself gives up, and where a process of it would be too
 * much for one ref. Refs are a copy of what the store has, so nothing is lost with them.
 */
import { lstat, mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { crashPoint } from "../base/crash-point.ts";
import type { RefUpdate } from "../protocol/node-api.ts";
import { checkRefName, refNameFromBytes, refNameToBytes, type ObjectId, type RefName } from "../protocol/ref-name.ts";
import { syncDirectory } from "./durable-file.ts";

/**
 * Writes a loose ref as git does (lockfile.h): a lock beside it that nobody else can make, which becomes the ref.
 * Durable but for its name, which the directory's fsync makes so. Throws what the file system throws, and leaves no lock
 * of its own.
 */
export async function writeLooseRef(directory: string, name: RefName, oid: ObjectId): Promise<void> {
  const path = pathOf(directory, name);
  const lock = Buffer.concat([path, Buffer.from(".lock")]);
  // Not with what is above refs/: a replica that was moved aside a moment ago must not be begun anew by accident.
  for (let end = name.indexOf("/"); end > 0; end = name.indexOf("/", end + 1)) {
    await mkdir(pathOf(directory, name.slice(0, end))).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
  }
  const file = await open(lock, "wx");
  try {
    try {
      await file.writeFile(`${oid}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    crashPoint("refs.lock-written");
    await rename(lock, path);
  } catch (error) {
    await rm(lock, { force: true });
    throw error;
  }
  crashPoint("refs.one-written");
}

/** Removes all refs, however broken. */
export async function clearRefs(directory: string): Promise<void> {
  await rm(join(directory, "refs"), { recursive: true, force: true });
  await rm(join(directory, "packed-refs"), { force: true });
  // Without refs/ git takes the directory for no repository.
  for (const name of ["heads", "tags"]) await mkdir(join(directory, "refs", name), { recursive: true });
  await syncDirectory(join(directory, "refs"));
  await syncDirectory(directory);
  crashPoint("refs.cleared");
}

/** refs and every directory below it, as byte strings like ref names. */
export async function refDirectories(directory: string, name = "refs"): Promise<string[]> {
  const entries = await readdir(pathOf(directory, name), { withFileTypes: true, encoding: "buffer" });
  const found = [name];
  for (const entry of entries) {
    if (entry.isDirectory())
      found.push(...(await refDirectories(directory, `${name}/${refNameFromBytes(entry.name)}`)));
  }
  return found;
}

/** Removes what keeps git from making these updates: files that say nothing, and files and directories in each other's place. */
export async function removeBrokenRefs(directory: string, updates: readonly RefUpdate[]): Promise<void> {
  for (const [name, oid] of updates) {
    if (checkRefName(name) !== undefined) continue;
    // What is not to be there needs no place.
    if (oid === null) continue;
    const parts = name.split("/");
    for (let depth = 2; depth < parts.length; depth += 1) {
      const above = pathOf(directory, parts.slice(0, depth).join("/"));
      if ((await kindOf(above)) === "file") await rm(above, { force: true });
    }
    const path = pathOf(directory, name);
    const kind = await kindOf(path);
    if (kind === "directory") await rm(path, { recursive: true, force: true });
    if (kind === "file" && !(await saysSomething(path))) await rm(path, { force: true });
  }
}

function pathOf(directory: string, name: string): Buffer {
  return Buffer.concat([Buffer.from(`${directory}/`), refNameToBytes(name)]);
}

async function kindOf(path: Buffer): Promise<"file" | "directory" | undefined> {
  try {
    return (await lstat(path)).isDirectory() ? "directory" : "file";
  } catch {
    return undefined;
  }
}

async function saysSomething(path: Buffer): Promise<boolean> {
  const text = await readFile(path, "latin1").catch(() => "");
  return /^(?:[0-9a-f]{40}|[0-9a-f]{64})\s*$/.test(text);
}
