/** Runs git as a user would, and other commands, and ends them with the bench. */
import { spawn, type ChildProcess } from "node:child_process";
import { pipeline } from "node:stream/promises";
import { Readable } from "node:stream";
import { cleanEnvironment } from "./peers.ts";

export interface RunOptions {
  readonly cwd?: string;
  /** Standard input. */
  readonly input?: string | AsyncIterable<string | Buffer>;
  readonly env?: Readonly<Record<string, string>>;
}

export class GitClient {
  readonly #home: string;
  readonly #running = new Set<ChildProcess>();
  #stopped = false;

  /** `home`: an existing directory, for what runs without another one. */
  constructor(home: string) {
    this.#home = home;
  }

  async git(args: readonly string[], options: RunOptions = {}): Promise<string> {
    return await this.run("git", args, options);
  }

  /** Standard output without the newline at its end. Throws with what the command said when it fails. */
  async run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
    if (this.#stopped) throw new Error("stopped");
    const child = spawn(command, args, {
      cwd: options.cwd ?? this.#home,
      env: { ...clientEnvironment(this.#home), ...options.env },
      stdio: [options.input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
      // What it starts itself is killed with it.
      detached: true,
    });
    this.#running.add(child);
    const chunks: Buffer[] = [];
    let stderr = "";
    child.stdout?.on("data", (chunk: Buffer) => chunks.push(chunk));
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (stderr = (stderr + text).slice(-4000)));
    const exited = new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", resolve);
    }).finally(() => this.#running.delete(child));
    if (options.input !== undefined && child.stdin !== null) {
      const input = typeof options.input === "string" ? [options.input] : options.input;
      // A command that ends early says itself why.
      await pipeline(Readable.from(input), child.stdin).catch(() => {});
    }
    const code = await exited;
    if (code !== 0) throw new Error(`${command} ${args.join(" ").slice(0, 300)}: status ${code}: ${stderr}`);
    return Buffer.concat(chunks).toString("utf8").replace(/\n$/, "");
  }

  /** Ends what runs, and runs nothing more. */
  stop(): void {
    this.#stopped = true;
    for (const { pid } of this.#running) {
      try {
        if (pid !== undefined) process.kill(-pid, "SIGKILL");
      } catch {
        // It has ended.
      }
    }
  }
}

function clientEnvironment(home: string): Record<string, string> {
  return {
    ...cleanEnvironment(home),
    GIT_CONFIG_COUNT: "2",
    GIT_CONFIG_KEY_0: "init.defaultBranch",
    GIT_CONFIG_VALUE_0: "master",
    GIT_CONFIG_KEY_1: "gc.auto",
    GIT_CONFIG_VALUE_1: "0",
    GIT_AUTHOR_NAME: "Bench",
    GIT_AUTHOR_EMAIL: "bench@localhost",
    GIT_COMMITTER_NAME: "Bench",
    GIT_COMMITTER_EMAIL: "bench@localhost",
  };
}
