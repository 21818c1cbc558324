/** A server of the bench: in a process tree that is measured, ended with the bench whatever happens to it. */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import type { ProcessTree } from "./process-tree.ts";

const stopMs = 30_000;

export interface ServerOptions {
  readonly tree: ProcessTree;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly logFile: string;
}

export class ServerProcess {
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  readonly #options: ServerOptions;

  constructor(command: readonly string[], options: ServerOptions) {
    this.#options = options;
    const log = openSync(options.logFile, "a");
    // The kernel ends the server if the bench is killed. A group of its own: Ctrl-C reaches the bench alone.
    this.#child = spawn("setpriv", ["--pdeathsig", "TERM", ...options.tree.wrap(command)], {
      cwd: options.cwd,
      env: { ...options.env },
      stdio: ["ignore", log, log],
      detached: true,
    });
    closeSync(log);
    this.#exited = new Promise((resolve) => {
      this.#child.once("error", () => resolve());
      this.#child.once("exit", () => resolve());
    });
    if (this.#child.pid !== undefined) options.tree.addRoot(this.#child.pid);
  }

  /** Throws with what the server said when it has ended. */
  requireRunning(): void {
    if (this.#child.pid !== undefined && this.#child.exitCode === null && this.#child.signalCode === null) return;
    const said = readFileSync(this.#options.logFile, "utf8").slice(-2000);
    throw new Error(`${this.#child.spawnargs.at(-1)} has ended: ${said}`);
  }

  async stop(): Promise<void> {
    this.#child.kill("SIGTERM");
    const limit = setTimeout(() => this.#child.kill("SIGKILL"), stopMs);
    await this.#exited;
    clearTimeout(limit);
    // fcgiwrap leaves its workers behind.
    try {
      if (this.#child.pid !== undefined) process.kill(-this.#child.pid, "SIGKILL");
    } catch {
      // Nobody is left.
    }
  }
}
