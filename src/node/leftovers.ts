/**
 * What a killed process leaves in a repository: lock files that block git for ever, quarantine directories, temporary
 * files. To be called only when no git works on the repository.
 */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";

const topLevelLocks = [
  "HEAD.lock",
  "packed-refs.lock",
  "packed-refs.new",
  "config.lock",
  "gitmesh.json.new",
  "HEAD.new",
  "shallow.lock",
];

export async function removeLeftovers(directory: string): Promise<void> {
  for (const name of topLevelLocks) await rm(join(directory, name), { force: true });
  await removeLocksBelow(join(directory, "refs"));
  const objects = join(directory, "objects");
  for (const name of await readdir(objects).catch(() => [])) {
    if (name.startsWith("tmp_")) await rm(join(objects, name), { recursive: true, force: true });
  }
  const packs = join(objects, "pack");
  for (const name of await readdir(packs).catch(() => [])) {
    if (/^(?:tmp_|\.tmp-)/.test(name) || name.endsWith(".lock"))
      await rm(join(packs, name), { recursive: true, force: true });
  }
}

async function removeLocksBelow(directory: string): Promise<void> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) await removeLocksBelow(path);
    else if (entry.name.endsWith(".lock")) await rm(path, { force: true });
  }
}
