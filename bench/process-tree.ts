/**
 * What a server uses, all its processes together, those included that have ended: CPU time from a cgroup of its own
 * where one can be made (exact), otherwise summed from /proc (in ticks; what a process left behind that nobody waited for
 * is lost). Memory from /proc.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const pageBytes = 4096;
const ticksPerSecond = 100;
const pollMs = 50;
const settleMaxMs = 2000;
/** A tree that uses less than this much of a core, beside what it uses when idle, has nothing left to do. */
const quietCores = 0.1;

export abstract class ProcessTree {
  /** Cores that the tree uses while nobody asks it for anything. Set once it was measured. */
  idleCores = 0;

  /** Puts a command into the tree: what to run instead of it. */
  abstract wrap(command: readonly string[]): string[];
  /** The first process of the tree, once it runs. */
  abstract addRoot(pid: number): void;
  abstract pids(): number[];
  /** Of all processes so far, also ended ones. */
  abstract cpuSeconds(): number;
  /** After the last process has ended. */
  abstract remove(): void;
  abstract readonly exact: boolean;

  /** Waits until the tree has finished what it does after its answers. Gives up silently: a busy tree stays busy. */
  async settle(): Promise<void> {
    const endMs = performance.now() + settleMaxMs;
    // In /proc one tick of a core is as little as can be seen.
    const quietSeconds = Math.max(((quietCores + this.idleCores) * pollMs) / 1000, this.exact ? 0 : 1 / ticksPerSecond);
    for (;;) {
      const before = this.cpuSeconds();
      await sleep(pollMs);
      if (this.cpuSeconds() - before <= quietSeconds || performance.now() > endMs) return;
    }
  }

  /** Memory that is only this tree's: anonymous pages of all its processes, in bytes. Shared files are not counted. */
  privateBytes(): number {
    let pages = 0;
    for (const pid of this.pids()) {
      const [, resident = 0, shared = 0] = (readProc(pid, "statm") ?? "").split(" ").map(Number);
      pages += resident - shared;
    }
    return pages * pageBytes;
  }

  /** Resident memory of each process whose command line matches, in bytes: now, and the highest since resetPeaks(). */
  resident(
    commands: RegExp,
  ): { readonly pid: number; readonly command: string; readonly now: number; readonly peak: number }[] {
    return this.pids().flatMap((pid) => {
      const command = (readProc(pid, "cmdline") ?? "").replaceAll("\0", " ").trim();
      const status = readProc(pid, "status") ?? "";
      if (!commands.test(command)) return [];
      const bytes = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) * 1024;
      return [{ pid, command, now: bytes("VmRSS"), peak: bytes("VmHWM") }];
    });
  }

  /** From here on the peaks count anew (proc(5), clear_refs). */
  resetPeaks(): void {
    for (const pid of this.pids()) {
      try {
        writeFileSync(`/proc/${pid}/clear_refs`, "5");
      } catch {
        // It has ended, or the kernel does not allow it: then the peak is that since its start.
      }
    }
  }
}

/** `name`: of the server, for the cgroup's. */
export function newProcessTree(name: string): ProcessTree {
  const directory = makeCgroup(`gitmesh-bench-${process.pid}-${name}`);
  return directory === undefined ? new ProcTree() : new CgroupTree(directory);
}

class CgroupTree extends ProcessTree {
  readonly exact = true;
  readonly #directory: string;

  constructor(directory: string) {
    super();
    this.#directory = directory;
  }

  wrap(command: readonly string[]): string[] {
    return ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', this.#directory, ...command];
  }

  addRoot(): void {
    // The cgroup knows.
  }

  pids(): number[] {
    return readFileSync(join(this.#directory, "cgroup.procs"), "utf8").split("\n").filter(Boolean).map(Number);
  }

  cpuSeconds(): number {
    const microseconds = /usage_usec (\d+)/.exec(readFileSync(join(this.#directory, "cpu.stat"), "utf8"))?.[1];
    return Number(microseconds) / 1e6;
  }

  remove(): void {
    for (const pid of this.pids()) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has ended.
      }
    }
    for (let attempt = 0; ; attempt += 1) {
      try {
        rmdirSync(this.#directory);
        return;
      } catch (error) {
        // Killed ones take a moment.
        if (attempt === 40) throw error;
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pollMs);
      }
    }
  }
}

class ProcTree extends ProcessTree {
  readonly exact = false;
  readonly #roots: number[] = [];

  wrap(command: readonly string[]): string[] {
    return [...command];
  }

  addRoot(pid: number): void {
    this.#roots.push(pid);
  }

  pids(): number[] {
    return this.#stats().map(({ pid }) => pid);
  }

  /** Each process has its own time and that of the children it has waited for (proc(5), stat, fields 14 to 17). */
  cpuSeconds(): number {
    return this.#stats().reduce((sum, { ticks }) => sum + ticks, 0) / ticksPerSecond;
  }

  remove(): void {
    for (const pid of this.pids()) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has ended.
      }
    }
  }

  #stats(): { pid: number; ticks: number }[] {
    const children = new Map<number, { pid: number; ticks: number }[]>();
    const found: { pid: number; ticks: number }[] = [];
    for (const entry of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
      const fields = (readProc(Number(entry), "stat") ?? "").split(") ").at(-1)?.split(" ").map(Number) ?? [];
      const ticks = fields.slice(11, 15).reduce((sum, field) => sum + field, 0);
      const process = { pid: Number(entry), ticks };
      const parent = fields[1] ?? 0;
      if (this.#roots.includes(process.pid)) found.push(process);
      children.set(parent, [...(children.get(parent) ?? []), process]);
    }
    for (let index = 0; index < found.length; index += 1) found.push(...(children.get(found[index]?.pid ?? -1) ?? []));
    return found;
  }
}

function readProc(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return undefined;
  }
}

/** A cgroup v2 below this process's own, if a process can be put into it. */
function makeCgroup(name: string): string | undefined {
  const mount = /^\S+ (\S+) cgroup2 /m.exec(readFileSync("/proc/self/mounts", "utf8"))?.[1];
  const own = /^0::(.*)$/m.exec(readFileSync("/proc/self/cgroup", "utf8"))?.[1];
  if (mount === undefined || own === undefined) return undefined;
  const directory = join(mount, own, name);
  try {
    mkdirSync(directory);
  } catch {
    return undefined;
  }
  const attempt = spawnSync("sh", ["-c", 'echo $$ > "$0/cgroup.procs" && grep -q usage_usec "$0/cpu.stat"', directory]);
  if (attempt.status === 0) return directory;
  rmdirSync(directory);
  return undefined;
}
