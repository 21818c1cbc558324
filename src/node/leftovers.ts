/**
 * What a killed process leaves in a repository: lock files that block git for ever, quarantine directories, temporary
 * files. To be called only when no git works on the repository (removeRefLocks: on its refs).
 */
import { readdir, rm } from "node:fs/promises";
import { crashPoint } from "../base/crash-point.ts";

type IsLeftover = (name: string) => boolean;

const separator = Buffer.from("/");

export async function removeLeftovers(directory: string): Promise<void> {
  await removeRefLocks(directory);
  crashPoint("leftovers.refs-unlocked");
  await removeIn(Buffer.from(`${directory}/objects`), isObjectLeftover, true);
}

export async function removeRefLocks(directory: string): Promise<void> {
  await removeIn(Buffer.from(directory), isTopLevelLeftover, false);
  await removeIn(Buffer.from(`${directory}/refs`), isLock, true);
}

function isLock(name: string): boolean {
  return name.endsWith(".lock");
}

/** Also what durable-file.ts and git's packed-refs were writing. */
function isTopLevelLeftover(name: string): boolean {
  return isLock(name) || name.endsWith(".new");
}

/** Quarantines (tmp_objdir-*), packs and loose objects being written (tmp_pack_*, tmp_obj_*, .tmp-*), and locks. */
function isObjectLeftover(name: string): boolean {
  return isLock(name) || name.startsWith("tmp_") || name.startsWith(".tmp-");
}

/** Names are bytes, as those of refs are. */
async function removeIn(directory: Buffer, isLeftover: IsLeftover, deep: boolean): Promise<void> {
  const entries = await readdir(directory, { withFileTypes: true, encoding: "buffer" }).catch(() => []);
  for (const entry of entries) {
    const path = Buffer.concat([directory, separator, entry.name]);
    if (isLeftover(entry.name.toString("latin1"))) {
      await rm(path, { recursive: true, force: true });
      crashPoint("leftovers.one-removed");
    } else if (deep && entry.isDirectory()) await removeIn(path, isLeftover, deep);
  }
}
