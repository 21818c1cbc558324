/**
 * The only place that runs git: streams, abort, environment (git-environment.ts). The processes are forked by
 * git-forker.ts, a child of this one.
 */
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import type { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { Clock } from "../base/clock.ts";
import { GitmeshError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { searchPath } from "../base/search-path.ts";
import { gitEnvironment } from "./git-environment.ts";
import type { ForkerMessage, ForkerRequest } from "./git-forker.ts";
import { gitStdout } from "./git-streams.ts";
import { SocketPairs } from "./socket-pairs.ts";

export interface GitRun {
  readonly args: readonly string[];
  /** The bare repository that git works on. */
  readonly directory: string;
  /** True for the few runs that are not about the repository in `directory`. */
  readonly outside?: boolean;
  /** At the lowest priority: whatever else the machine does comes first. */
  readonly background?: boolean;
  /** Added to the fixed environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Added to the fixed configuration, key to value. */
  readonly config?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  /** Each piece of standard error as it comes. */
  readonly onStderr?: (text: string) => void;
}

export interface GitExit {
  /** null when it was killed or could not be started. */
  readonly code: number | null;
  readonly signal: string | null;
  /** The last part of standard error. */
  readonly stderr: string;
}

/** A running git. `stdin.end()` gives it its end of input; it holds its socket until `stdout` is read to the end or destroyed. */
export interface GitProcess {
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Resolves once, never rejects. */
  readonly exit: Promise<GitExit>;
  /** Ends git and all that it started. */
  kill(): void;
}

interface Running {
  readonly socket: Socket;
  readonly onStderr: ((text: string) => void) | undefined;
  readonly settle: (exit: GitExit) => void;
  stderr: string;
  pid: number | undefined;
}

const stderrCharactersMax = 16_384;
const outputBytesDefaultMax = 64 * 1024 * 1024;
const forkerRestartMs = 100;

/** Starts git processes. One for each repository server. */
export class Git {
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #pairs: SocketPairs;
  readonly #running = new Map<number, Running>();
  #forker: ChildProcess | undefined;
  #nextId = 1;
  #closed = false;

  private constructor(log: Logger, clock: Clock, pairs: SocketPairs) {
    this.#log = log;
    this.#clock = clock;
    this.#pairs = pairs;
  }

  static async start(log: Logger, clock: Clock): Promise<Git> {
    const git = new Git(log, clock, await SocketPairs.open());
    git.#startForker();
    return git;
  }

  /** This process and the one that forks git for it. */
  get processIds(): number[] {
    return [process.pid, ...(this.#forker?.pid === undefined ? [] : [this.#forker.pid])];
  }

  /** Kills every git and ends. */
  async close(): Promise<void> {
    this.#closed = true;
    const forker = this.#forker;
    this.#forker = undefined;
    if (forker !== undefined && forker.exitCode === null && forker.signalCode === null) {
      const exited = once(forker, "exit");
      if (forker.connected) forker.disconnect();
      await exited;
    }
    this.#pairs.close();
  }

  /** Starts git. Throws GitmeshError "git-failed" when no process can be had. */
  async run(run: GitRun): Promise<GitProcess> {
    run.signal?.throwIfAborted();
    const { ours, theirs } = await this.#pairs.make().catch((error: unknown) => {
      throw new GitmeshError("git-failed", `no git process can be started: ${messageOf(error)}`, { cause: error });
    });
    const forker = this.#forker;
    if (forker === undefined || !forker.connected) {
      ours.destroy();
      theirs.destroy();
      throw new GitmeshError("git-failed", "no git process can be started now");
    }
    const id = this.#nextId++;
    const { promise: exit, resolve: settle } = Promise.withResolvers<GitExit>();
    this.#running.set(id, { socket: ours, onStderr: run.onStderr, settle, stderr: "", pid: undefined });
    const kill = (): void => {
      ours.destroy();
      if (forker.connected) forker.send({ type: "kill", id } satisfies ForkerRequest);
    };
    run.signal?.addEventListener("abort", kill, { once: true });
    void exit.then(() => run.signal?.removeEventListener("abort", kill));
    const request: ForkerRequest = {
      type: "fork",
      id,
      args: run.args,
      cwd: run.directory,
      background: run.background === true,
      env: gitEnvironment({ ...(run.outside === true ? {} : { GIT_DIR: "." }), ...run.env }, run.config ?? {}),
    };
    forker.send(request, theirs, { keepOpen: false }, (error) => {
      if (error !== null) this.#settle(id, { code: null, signal: null, stderr: error.message });
    });
    if (run.signal?.aborted === true) kill();
    return { stdin: ours, stdout: gitStdout(ours), exit, kill };
  }

  /**
   * Runs git to its end with `input`, and gives its standard output. Throws GitmeshError "git-failed" when it fails or
   * says more than `outputBytesMax`.
   */
  async capture(run: GitRun, input: Uint8Array | string = "", outputBytesMax?: number): Promise<Buffer> {
    const { code, stdout, stderr } = await this.attempt(run, input, outputBytesMax);
    if (code === 0) return stdout;
    throw new GitmeshError("git-failed", `git ${run.args[0] ?? ""} failed: ${stderr.trim().slice(0, 500)}`);
  }

  /** The same for runs whose failure is an answer. */
  async attempt(
    run: GitRun,
    input: Uint8Array | string = "",
    outputBytesMax: number = outputBytesDefaultMax,
  ): Promise<GitExit & { readonly stdout: Buffer }> {
    const git = await this.run(run);
    git.stdin.end(input);
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of git.stdout as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > outputBytesMax) break;
      chunks.push(chunk);
    }
    if (bytes > outputBytesMax) git.kill();
    const exit = await git.exit;
    run.signal?.throwIfAborted();
    if (bytes <= outputBytesMax) return { ...exit, stdout: Buffer.concat(chunks) };
    throw new GitmeshError("git-failed", `git ${run.args[0] ?? ""} said more than ${outputBytesMax} bytes`);
  }

  #startForker(): void {
    const forker = fork(fileURLToPath(new URL("git-forker.ts", import.meta.url)), [this.#pairs.directory], {
      stdio: ["ignore", "ignore", "inherit", "ipc"],
      execArgv: ["--max-old-space-size=64", "--disable-warning=ExperimentalWarning"],
      env: { PATH: searchPath },
    });
    this.#forker = forker;
    forker.on("message", (message: ForkerMessage) => this.#heard(message));
    forker.on("error", (error) => {
      this.#log.error({ err: error }, "the process that forks git failed");
      if (forker.pid === undefined) this.#forkerEnded(forker);
    });
    forker.once("exit", () => this.#forkerEnded(forker));
  }

  /** Its gits are killed here, since nobody else knows them any more. */
  #forkerEnded(forker: ChildProcess): void {
    for (const [id, { pid }] of this.#running) {
      if (pid !== undefined) killGroup(pid);
      this.#settle(id, { code: null, signal: null, stderr: "the process that forks git ended" });
    }
    if (this.#closed || this.#forker !== forker) return;
    this.#forker = undefined;
    this.#log.error("the process that forks git ended; it is started again");
    this.#clock.timer(forkerRestartMs, () => {
      if (!this.#closed) this.#startForker();
    });
  }

  #heard(message: ForkerMessage): void {
    const running = this.#running.get(message.id);
    if (running === undefined) return;
    switch (message.type) {
      case "started":
        running.pid = message.pid;
        break;
      case "stderr":
        running.stderr = (running.stderr + message.text).slice(-stderrCharactersMax);
        running.onStderr?.(message.text);
        break;
      case "exit":
        this.#settle(message.id, { code: message.code, signal: message.signal, stderr: running.stderr });
        break;
      case "failed":
        this.#settle(message.id, { code: null, signal: null, stderr: message.message });
        break;
    }
  }

  #settle(id: number, exit: GitExit): void {
    const running = this.#running.get(id);
    if (running === undefined) return;
    this.#running.delete(id);
    // Git that never started leaves nobody at the other end.
    if (exit.code === null) running.socket.destroy();
    running.settle(exit);
  }
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended already.
  }
}
