/** The directory of pid files: one `gitmesh up` to a data directory, and none of an earlier one left running. */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../base/clock.ts";

/** Servers whose supervisor was killed notice it and stop; this is how long that may take. */
const leftoverMs = 15_000;
const pollMs = 50;

/** Throws one sentence when another `gitmesh up` runs. Returns what gives the directory back. */
export async function takeRunDirectory(directory: string): Promise<() => void> {
  const path = join(directory, "up.pid");
  const other = readPid(path);
  if (other !== undefined && isGitmesh(other)) {
    throw new Error(`gitmesh up runs already on this data directory, as process ${other}.`);
  }
  const endMs = systemClock.monotonicMs() + leftoverMs;
  for (const name of readdirSync(directory).filter((file) => file.endsWith(".pid"))) {
    const pid = readPid(join(directory, name)) ?? 0;
    while (isGitmesh(pid)) {
      if (systemClock.monotonicMs() > endMs)
        throw new Error(`Process ${pid} (${name}) of an earlier start is still there.`);
      await systemClock.sleep(pollMs);
    }
    rmSync(join(directory, name), { force: true });
  }
  writeFileSync(path, `${process.pid}\n`);
  return () => rmSync(path, { force: true });
}

function readPid(path: string): number | undefined {
  if (!existsSync(path)) return undefined;
  const pid = Number(readFileSync(path, "utf8"));
  return Number.isInteger(pid) && pid > 0 && pid !== process.pid ? pid : undefined;
}

/** A process id may have been given to another program since. */
function isGitmesh(pid: number): boolean {
  if (pid === 0) return false;
  try {
    // Without /proc only the process id can tell.
    if (!existsSync("/proc/self/cmdline")) return process.kill(pid, 0);
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("main.ts");
  } catch {
    return false;
  }
}
