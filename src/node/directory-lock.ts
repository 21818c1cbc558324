/**
 * One server process to a directory. The lock names the process and the one that forks git for it: after kill -9 the
 * next server waits until both are gone, so that no git of the old one still works on the repositories.
 */
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { Clock } from "../base/clock.ts";

const processSchema = z.object({ pid: z.int().positive(), started: z.string() });
const lockSchema = z.object({ processes: z.array(processSchema) });
type Owner = z.infer<typeof processSchema>;

const waitMs = 10_000;
const pollMs = 50;

/** Throws one sentence when another live process has the directory. Returns what gives it back. */
export async function lockDirectory(
  directory: string,
  pids: readonly number[],
  clock: Clock,
): Promise<() => Promise<void>> {
  await mkdir(directory, { recursive: true });
  const path = join(directory, "lock.json");
  const endMs = clock.monotonicMs() + waitMs;
  for (const owner of await owners(path)) {
    while (await isAlive(owner)) {
      if (clock.monotonicMs() > endMs) throw new Error(`The directory ${directory} is in use by process ${owner.pid}.`);
      await clock.sleep(pollMs);
    }
  }
  const processes = await Promise.all(pids.map(async (pid) => ({ pid, started: await startOf(pid) })));
  await writeFile(path, JSON.stringify({ processes }));
  return () => rm(path, { force: true });
}

async function owners(path: string): Promise<readonly Owner[]> {
  try {
    return lockSchema.parse(JSON.parse(await readFile(path, "utf8"))).processes;
  } catch {
    return [];
  }
}

async function isAlive(owner: Owner): Promise<boolean> {
  return owner.started !== "" && owner.pid !== process.pid && (await startOf(owner.pid)) === owner.started;
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
