/**
 * One server process to a directory. The lock names the process and the one that forks git for it: after kill -9 the
 * next server waits until both are gone, so that no git of the old one still works on the repositories.
 */
import { link, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { Clock } from "../base/clock.ts";

const processSchema = z.object({ pid: z.int().positive(), started: z.string() });
const lockSchema = z.object({ processes: z.array(processSchema) });

/** One that is killed while its disk hangs takes its time to end. */
const waitMs = 20_000;
const pollMs = 50;

/** Throws one sentence when another live process has the directory. Returns what gives it back. */
export async function lockDirectory(
  directory: string,
  pids: readonly number[],
  clock: Clock,
): Promise<() => Promise<void>> {
  const path = join(directory, "lock.json");
  const mine = join(directory, `lock.${process.pid}.json`);
  const processes = await Promise.all(pids.map(async (pid) => ({ pid, started: await startOf(pid) })));
  const endMs = clock.monotonicMs() + waitMs;
  try {
    await writeFile(mine, JSON.stringify({ processes }));
    while (!(await linked(mine, path))) {
      const found = await read(path);
      const owner = await livingOwner(found);
      if (owner === undefined) {
        await removeStale(path, found, `${mine}.stale`);
        continue;
      }
      if (clock.monotonicMs() > endMs) throw new Error(`The directory ${directory} is in use by process ${owner}.`);
      await clock.sleep(pollMs);
    }
  } finally {
    await rm(mine, { force: true }).catch(() => {});
  }
  // One that stays, on a disk that takes no writes, is a dead process's.
  return () => rm(path, { force: true }).catch(() => {});
}

/** Takes the lock if there is none: a link, unlike a write, fails when there is. */
async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** Removes a dead one's lock, but not that of another server that was quicker to do so. */
async function removeStale(path: string, content: string, aside: string): Promise<void> {
  await rename(path, aside).catch(() => {});
  if ((await read(aside)) !== content) await linked(aside, path);
  await rm(aside, { force: true });
}

async function read(path: string): Promise<string> {
  return readFile(path, "utf8").catch(() => "");
}

/** The first of the lock's processes that lives. */
async function livingOwner(lock: string): Promise<number | undefined> {
  let owners: z.infer<typeof lockSchema>;
  try {
    owners = lockSchema.parse(JSON.parse(lock));
  } catch {
    return undefined;
  }
  for (const { pid, started } of owners.processes) {
    if (started !== "" && (await startOf(pid)) === started) return pid;
  }
  return undefined;
}

/** When a process started, in the kernel's ticks: with it, a process id that is used again is not mistaken. "" without one. */
async function startOf(pid: number): Promise<string> {
  try {
    const [state, ...fields] = (await readFile(`/proc/${pid}/stat`, "utf8")).split(") ").at(-1)?.split(" ") ?? [];
    return state === "Z" ? "" : (fields[18] ?? "");
  } catch {
    return "";
  }
}
