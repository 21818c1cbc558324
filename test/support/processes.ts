/** What runs on this machine, read from /proc, and processes that do not outlive the test that started them. */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from "node:fs";

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface StartOptions {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** Standard output and error go to its end. */
  readonly logFile: string;
}

const started = new Set<ChildProcess>();

// A test file that is ended early must not leave servers behind.
process.on("exit", () => {
  for (const child of started) child.kill("SIGKILL");
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

/** A server process of a test. */
export class ServerProcess {
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;

  constructor(command: string, args: readonly string[], options: StartOptions) {
    const log = openSync(options.logFile, "a");
    // The kernel ends the server when the test's process dies without its exit handlers.
    const child = spawn("setpriv", ["--pdeathsig", "TERM", command, ...args], {
      cwd: options.cwd,
      env: { ...options.env },
      stdio: ["ignore", log, log],
    });
    closeSync(log);
    this.#child = child;
    this.exited = exitOf(child);
  }

  get pid(): number {
    const { pid } = this.#child;
    if (pid === undefined) throw new Error("the process did not start");
    return pid;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }
}

/** Resolves when the process has ended; until then it is ended with the test file. */
export function exitOf(child: ChildProcess): Promise<Exit> {
  started.add(child);
  return new Promise((resolve, reject) => {
    child.once("error", (error) => {
      started.delete(child);
      reject(error);
    });
    child.once("close", (code, signal) => {
      started.delete(child);
      resolve({ code, signal });
    });
  });
}

/** Processes whose working directory is in `directory`, with their command lines. */
export function processesIn(directory: string): { readonly pid: number; readonly command: string }[] {
  const found: { pid: number; command: string }[] = [];
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const cwd = readlinkSync(`/proc/${entry}/cwd`);
      if (cwd !== directory && !cwd.startsWith(`${directory}/`)) continue;
      const command = readFileSync(`/proc/${entry}/cmdline`, "utf8").replaceAll("\0", " ").trim();
      if (command !== "") found.push({ pid: Number(entry), command });
    } catch {
      // It ended meanwhile, or is somebody else's.
    }
  }
  return found;
}

/** True until the process has ended; one that ended and was not waited for is not running. */
export function isRunning(pid: number): boolean {
  try {
    const state = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.[0];
    return state !== "Z" && state !== "X";
  } catch {
    return false;
  }
}

/** Processes that this one started and that have not ended. */
export function childrenOf(parent: number): number[] {
  return readdirSync("/proc").flatMap((entry) => {
    try {
      const status = readFileSync(`/proc/${entry}/status`, "utf8");
      return new RegExp(`^PPid:\\s+${parent}$`, "m").test(status) ? [Number(entry)] : [];
    } catch {
      return [];
    }
  });
}

/** True when every thread stands still after SIGSTOP, or the process is gone. */
export function isStopped(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/task`).every((thread) => {
      const state = readFileSync(`/proc/${pid}/task/${thread}/stat`, "utf8").split(") ").at(-1)?.[0];
      return state === "T" || state === "t";
    });
  } catch {
    return true;
  }
}

/** Resident memory. */
export function residentBytes(pid: number): number {
  const kilobytes = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kilobytes) * 1024;
}

/** Open files and sockets. */
export function openFiles(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}
