/**
 * Changes a replica's own refs: files as git writes them, since a process of git for each change costs more than the
 * change. git itself finds them sound, or not.
 */
import { crashPoint } from "../base/crash-point.ts";
import { GitmeshError } from "../base/errors.ts";
import type { RefUpdate } from "../protocol/node-api.ts";
import { refNameToBytes, type ObjectId, type RefName } from "../protocol/ref-name.ts";
import { syncDirectory } from "./durable-file.ts";
import type { Git } from "./git.ts";
import { removeRefLocks } from "./leftovers.ts";
import { writePackedRefs } from "./packed-refs.ts";
import { clearRefs, refDirectories, removeBrokenRefs, writeLooseRef } from "./ref-files.ts";

/** Beyond so many, refs are packed into one file rather than fsynced each for itself. */
const looseUpdatesMax = 20;
const refsOutputBytesMax = 512 * 1024 * 1024;

/**
 * Sets refs to absolute values, null deletes. Durable when it resolves. Not atomic over a crash: repeating it heals that.
 * Throws GitmeshError "git-failed" when an object is not there.
 *
 * The updates are committed: they are refused by nothing that lies about in refs/. To be called by one at a time.
 * `isHere` is true for objects of which it is known that they are here; git is asked about every other one.
 */
export async function updateRefs(
  git: Git,
  directory: string,
  updates: readonly RefUpdate[],
  isHere: (oid: ObjectId) => boolean,
): Promise<void> {
  const oids = updates.flatMap(([, oid]) => (oid === null || isHere(oid) ? [] : [oid]));
  await checkObjects(git, directory, new Set(oids));
  await change(directory, updates);
  const names = updates.map(([name]) => name);
  await syncDirectories(directory, directoriesOf(names));
}

async function checkObjects(git: Git, directory: string, oids: ReadonlySet<ObjectId>): Promise<void> {
  if (oids.size === 0) return;
  const args = ["cat-file", "--batch-check=%(objecttype)", "--buffer"];
  const answer = await git.capture({ args, directory }, `${[...oids].join("\n")}\n`);
  const missing = /^([0-9a-f]+) missing$/m.exec(answer.toString("latin1"));
  if (missing !== null) throw new GitmeshError("git-failed", `the object ${missing[1] ?? ""} is not there`);
}

/** Deletes count before the others, so that a directory can become a ref and the other way round. */
async function change(directory: string, updates: readonly RefUpdate[]): Promise<void> {
  try {
    await write(directory, updates);
  } catch {
    // Lock files of a killed process, files that are no refs, and the like: nobody else works on these refs now.
    await removeRefLocks(directory);
    await removeBrokenRefs(directory, updates);
    crashPoint("refs.unblocked");
    await write(directory, updates);
  }
  crashPoint("refs.written");
}

async function write(directory: string, updates: readonly RefUpdate[]): Promise<void> {
  const values = updates.flatMap(([name, oid]): [RefName, ObjectId][] => (oid === null ? [] : [[name, oid]]));
  // What is deleted may be packed.
  if (values.length < updates.length || values.length > looseUpdatesMax) return writePackedRefs(directory, updates);
  for (const [name, oid] of values) await writeLooseRef(directory, name, oid);
}

/** The directories that these refs are in, as paths in the replica's, which is one of them. */
function directoriesOf(names: readonly RefName[]): Set<string> {
  const directories = new Set<string>([""]);
  for (const name of names) {
    const parts = name.split("/");
    for (let depth = 1; depth < parts.length; depth += 1) directories.add(parts.slice(0, depth).join("/"));
  }
  return directories;
}

/**
 * git fsyncs what a loose ref says; its name, or that it is gone, is durable when the directory is. A loose ref that
 * comes back after a power loss would hide the packed one.
 */
async function syncDirectories(directory: string, names: Iterable<string>): Promise<void> {
  for (const name of names) {
    const path = Buffer.concat([Buffer.from(`${directory}/`), refNameToBytes(name)]);
    await syncDirectory(path).catch((error: NodeJS.ErrnoException) => {
      // Deleting the last ref below a directory removes the directory; the one above it is synced as well.
      if (error.code !== "ENOENT" && error.code !== "ENOTDIR") throw error;
    });
  }
}

/** Every ref of a replica; undefined when git finds that it cannot read them (a rotten packed-refs, say). */
export async function readRefs(git: Git, directory: string): Promise<Map<RefName, ObjectId> | undefined> {
  const args = ["for-each-ref", "--format=%(objectname) %(refname)"];
  const run = await git.attempt({ args, directory }, "", refsOutputBytesMax);
  if (run.code === null) throw new GitmeshError("git-failed", `for-each-ref: ${run.stderr.trim() || "was killed"}`);
  if (run.code !== 0) return undefined;
  const refs = new Map<RefName, ObjectId>();
  for (const line of run.stdout.toString("latin1").split("\n")) {
    const space = line.indexOf(" ");
    if (space > 0) refs.set(line.slice(space + 1), line.slice(0, space));
  }
  return refs;
}

/**
 * Makes a replica's refs exactly these, of objects that are here. Where there is no way from what is there to what shall
 * be (broken refs, stray files), all refs are written anew: they are a copy. `beforeClearing` is called before they are all gone.
 */
export async function setRefs(
  git: Git,
  directory: string,
  wanted: ReadonlyMap<RefName, ObjectId>,
  beforeClearing: () => Promise<void>,
): Promise<void> {
  const own = await readRefs(git, directory);
  if (own !== undefined) {
    const updates: RefUpdate[] = [];
    for (const name of own.keys()) if (!wanted.has(name)) updates.push([name, null]);
    for (const [name, oid] of wanted) if (own.get(name) !== oid) updates.push([name, oid]);
    try {
      await changeAll(directory, updates);
      if (equal(await readRefs(git, directory), wanted)) return;
    } catch {
      // Below.
    }
  }
  await beforeClearing();
  await clearRefs(directory);
  await changeAll(directory, [...wanted]);
  if (equal(await readRefs(git, directory), wanted)) return;
  throw new GitmeshError("git-failed", "the replica's refs cannot be written");
}

/**
 * Makes updates, and every ref durable: also one that has its value already, since who set it may have been killed
 * before it was.
 */
async function changeAll(directory: string, updates: readonly RefUpdate[]): Promise<void> {
  await change(directory, updates);
  await syncDirectories(directory, ["", ...(await refDirectories(directory))]);
}

/** Whether git can read every ref and the object that it names. */
export async function refsAreSound(git: Git, directory: string): Promise<boolean> {
  const check = await git.attempt({ args: ["rev-list", "--quiet", "--no-walk", "--all"], directory });
  if (check.code === null) throw new GitmeshError("git-failed", `rev-list: ${check.stderr.trim() || "was killed"}`);
  return check.code === 0;
}

function equal(one: ReadonlyMap<string, string> | undefined, other: ReadonlyMap<string, string>): boolean {
  return one !== undefined && one.size === other.size && [...one].every(([name, oid]) => other.get(name) === oid);
}
