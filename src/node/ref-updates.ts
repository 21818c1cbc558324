/** Changes a replica's own refs: with git's ref transactions, and past git where a ref only moves to a new commit. */
import { crashPoint } from "../base/crash-point.ts";
import { GitmeshError } from "../base/errors.ts";
import type { RefUpdate } from "../protocol/node-api.ts";
import { refNameToBytes, type ObjectId, type RefName } from "../protocol/ref-name.ts";
import { syncDirectory } from "./durable-file.ts";
import type { Git } from "./git.ts";
import { removeRefLocks } from "./leftovers.ts";
import { clearRefs, refDirectories, removeBrokenRefs, writeLooseRef } from "./ref-files.ts";

/** Beyond so many, refs are packed into one file rather than fsynced each for itself. */
const looseUpdatesMax = 100;
const looseRefsUnsynced = { "core.fsync": "loose-object,pack,pack-metadata,commit-graph" };
const refsOutputBytesMax = 512 * 1024 * 1024;

/**
 * Sets refs to absolute values, null deletes. Deletes come first, so that a directory can become a ref and the other
 * way round. Durable when it resolves. Not atomic over a crash: repeating it heals that.
 *
 * The updates are committed: they are refused by nothing that lies about in refs/. To be called by one at a time.
 * `isHere` is true for commits of which it is known that they are here; git is asked about every other object.
 */
export async function updateRefs(
  git: Git,
  directory: string,
  updates: readonly RefUpdate[],
  isHere: (oid: ObjectId) => boolean,
): Promise<void> {
  const packed = updates.length > looseUpdatesMax;
  if (packed || !(await writeLoose(directory, updates, isHere))) await change(git, directory, updates, packed);
  const names = updates.map(([name]) => name);
  await syncDirectories(directory, directoriesOf(names));
}

/** A process of git costs more than the files of a few refs. False when git has to look at these. */
async function writeLoose(
  directory: string,
  updates: readonly RefUpdate[],
  isHere: (oid: ObjectId) => boolean,
): Promise<boolean> {
  const values = updates.flatMap(([name, oid]): [RefName, ObjectId][] => (oid === null ? [] : [[name, oid]]));
  if (values.length < updates.length || !values.every(([, oid]) => isHere(oid))) return false;
  try {
    for (const [name, oid] of values) await writeLooseRef(directory, name, oid);
    return true;
  } catch {
    // A lock, or a file where a directory must be, or the other way round: git says which.
    return false;
  }
}

async function change(git: Git, directory: string, updates: readonly RefUpdate[], packed: boolean): Promise<void> {
  try {
    await applyUpdates(git, directory, updates, packed);
  } catch {
    // Lock files of a killed git, files that are no refs, and the like: nobody else works on these refs now.
    await removeRefLocks(directory);
    await removeBrokenRefs(directory, updates);
    crashPoint("refs.unblocked");
    await applyUpdates(git, directory, updates, packed);
  }
  crashPoint("refs.written");
}

async function applyUpdates(
  git: Git,
  directory: string,
  updates: readonly RefUpdate[],
  packed: boolean,
): Promise<void> {
  const deletes = updates.filter(([, oid]) => oid === null);
  const others = updates.filter(([, oid]) => oid !== null);
  // Deletes write packed-refs anew, with all that is in it.
  if (deletes.length > 0) await transaction(git, directory, {}, deletes);
  crashPoint("refs.part-written");
  if (others.length > 0) await transaction(git, directory, packed ? looseRefsUnsynced : {}, others);
  if (packed) await packRefs(git, directory);
}

/** git fsyncs packed-refs; a loose ref goes when that it is packed is durable. */
async function packRefs(git: Git, directory: string): Promise<void> {
  await git.capture({ args: ["pack-refs", "--all", "--no-prune"], directory });
  await syncDirectory(directory);
  crashPoint("refs.packed");
  await git.capture({ args: ["pack-refs", "--all", "--prune"], directory });
}

async function transaction(
  git: Git,
  directory: string,
  config: Record<string, string>,
  updates: readonly RefUpdate[],
): Promise<void> {
  const lines = updates.map(([name, oid]) => (oid === null ? `delete ${name}\0\0` : `update ${name}\0${oid}\0\0`));
  const input = Buffer.from(`start\0${lines.join("")}prepare\0commit\0`, "latin1");
  const run = await git.attempt({ args: ["update-ref", "--stdin", "-z"], directory, config }, input);
  // At the end of its input git aborts what is not committed, and exits with 0 all the same.
  if (run.code !== 0 || !run.stdout.includes("commit: ok")) {
    throw new GitmeshError("git-failed", `update-ref: ${run.stderr.trim().slice(0, 500) || "did not commit"}`);
  }
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
 * Makes a replica's refs exactly these. Where git cannot get from what is there to what shall be (broken refs, stray
 * files), all refs are written anew: they are a copy. `beforeClearing` is called before they are all gone.
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
      await changeAll(git, directory, updates);
      if (equal(await readRefs(git, directory), wanted)) return;
    } catch {
      // Below.
    }
  }
  await beforeClearing();
  await clearRefs(directory);
  await changeAll(git, directory, [...wanted]);
  if (equal(await readRefs(git, directory), wanted)) return;
  throw new GitmeshError("git-failed", "the replica's refs cannot be written");
}

/**
 * Makes updates, and every ref durable: also one that has its value already, since who set it may have been killed
 * before it was.
 */
async function changeAll(git: Git, directory: string, updates: readonly RefUpdate[]): Promise<void> {
  await change(git, directory, updates, true);
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
