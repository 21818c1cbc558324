/**
 * The only place that runs git. Each run has a fixed environment (nothing of the server's own), protections that
 * repository content cannot lift, and is forked by git-forker.ts.
 */
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, connect, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { GitmeshError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { searchPath } from "../base/search-path.ts";
import type { ForkerMessage, ForkerRequest } from "./git-forker.ts";

export interface GitRun {
  readonly args: readonly string[];
  /** The bare repository that git works on. */
  readonly directory: string;
  /** True for the few runs that are not about the repository in `directory`. */
  readonly outside?: boolean;
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

/** A running git. Both streams are ends of one socket: `stdin.end()` gives git its end of input. */
export interface GitProcess {
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Resolves once, never rejects. */
  readonly exit: Promise<GitExit>;
  kill(): void;
}

interface Running {
  readonly socket: Socket;
  readonly onStderr: ((text: string) => void) | undefined;
  readonly settle: (exit: GitExit) => void;
  stderr: string;
}

const stderrCharactersMax = 16_384;

/** Configuration of every run; the environment outranks what a repository's own config says. */
const fixedConfig: Readonly<Record<string, string>> = {
  "core.hooksPath": "/dev/null",
  "core.logAllRefUpdates": "false",
  "core.fsync": "loose-object,pack,pack-metadata,commit-graph,reference",
  "core.fsyncMethod": "fsync",
  "gc.auto": "0",
  "maintenance.auto": "false",
  "pack.threads": "2",
  "pack.writeReverseIndex": "true",
  "protocol.allow": "never",
  "safe.directory": "*",
  "uploadpack.allowFilter": "true",
  "uploadpack.allowAnySHA1InWant": "true",
  "transfer.advertiseSID": "false",
  "transfer.unpackLimit": "1",
};

/** Starts git processes. One for each repository server. */
export class Git {
  readonly #log: Logger;
  readonly #directory: string;
  readonly #pairs: Server;
  readonly #running = new Map<number, Running>();
  #forker: ChildProcess | undefined;
  #accepted: ((socket: Socket) => void) | undefined;
  #pairing: Promise<unknown> = Promise.resolve();
  #nextId = 1;
  #closed = false;

  private constructor(log: Logger, directory: string, pairs: Server) {
    this.#log = log;
    this.#directory = directory;
    this.#pairs = pairs;
    pairs.on("connection", (socket) => {
      if (this.#accepted === undefined) socket.destroy();
      else this.#accepted(socket);
    });
  }

  static async start(log: Logger): Promise<Git> {
    const directory = mkdtempSync(join(tmpdir(), "gitmesh-"));
    const pairs = createServer({ allowHalfOpen: true, pauseOnConnect: true });
    pairs.listen(join(directory, "pairs"));
    await once(pairs, "listening");
    const git = new Git(log, directory, pairs);
    git.#startForker();
    return git;
  }

  /** Processes that run now. */
  get processes(): number {
    return this.#running.size;
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
    if (forker !== undefined && forker.exitCode === null) {
      const exited = once(forker, "exit");
      if (forker.connected) forker.disconnect();
      await exited;
    }
    this.#pairs.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** Starts git. Throws GitmeshError "git-failed" when no process can be had. */
  async run(run: GitRun): Promise<GitProcess> {
    run.signal?.throwIfAborted();
    const { ours, theirs } = await this.#pair();
    const forker = this.#forker;
    if (forker === undefined || !forker.connected) {
      ours.destroy();
      theirs.destroy();
      throw new GitmeshError("git-failed", "no git process can be started now");
    }
    const id = this.#nextId++;
    const { promise: exit, resolve: settle } = Promise.withResolvers<GitExit>();
    const running: Running = { socket: ours, onStderr: run.onStderr, settle, stderr: "" };
    this.#running.set(id, running);
    const kill = (): void => {
      ours.destroy();
      if (forker.connected) forker.send({ type: "kill", id } satisfies ForkerRequest);
    };
    // Errors of the socket show as an early end; the exit says why.
    ours.on("error", () => {});
    run.signal?.addEventListener("abort", kill, { once: true });
    void exit.then(() => run.signal?.removeEventListener("abort", kill));
    const request: ForkerRequest = {
      type: "fork",
      id,
      args: run.args,
      cwd: run.directory,
      env: environment({ ...(run.outside === true ? {} : { GIT_DIR: "." }), ...run.env }, run.config ?? {}),
    };
    forker.send(request, theirs, { keepOpen: false }, (error) => {
      if (error !== null) this.#settle(id, { code: null, signal: null, stderr: error.message });
    });
    if (run.signal?.aborted === true) kill();
    return { stdin: ours, stdout: ours, exit, kill };
  }

  /**
   * Runs git to its end with `input`, and gives its standard output. Throws GitmeshError "git-failed" when it fails or
   * says more than `outputBytesMax`.
   */
  async capture(run: GitRun, input: Uint8Array | string = "", outputBytesMax = 64 * 1024 * 1024): Promise<Buffer> {
    const { code, stdout, stderr } = await this.attempt(run, input, outputBytesMax);
    if (code === 0) return stdout;
    throw new GitmeshError("git-failed", `git ${run.args[0] ?? ""} failed: ${stderr.trim().slice(0, 500)}`);
  }

  /** The same for runs whose failure is an answer. */
  async attempt(
    run: GitRun,
    input: Uint8Array | string = "",
    outputBytesMax = 64 * 1024 * 1024,
  ): Promise<GitExit & { readonly stdout: Buffer }> {
    const git = await this.run(run);
    git.stdin.end(input);
    const chunks: Buffer[] = [];
    let bytes = 0;
    try {
      for await (const chunk of git.stdout as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        if (bytes > outputBytesMax) {
          git.kill();
          await git.exit;
          throw new GitmeshError("git-failed", `git ${run.args[0] ?? ""} said more than ${outputBytesMax} bytes`);
        }
        chunks.push(chunk);
      }
    } catch (error) {
      if (error instanceof GitmeshError) throw error;
      // A broken socket: git ended without reading all of its input, which its exit explains.
    }
    const exit = await git.exit;
    run.signal?.throwIfAborted();
    return { ...exit, stdout: Buffer.concat(chunks) };
  }

  /** One connected pair of sockets. Pairs are made one after the other, so that both ends belong together. */
  #pair(): Promise<{ readonly ours: Socket; readonly theirs: Socket }> {
    const pair = this.#pairing.then(async () => {
      const accepted = new Promise<Socket>((resolve) => (this.#accepted = resolve));
      const ours = connect({ path: join(this.#directory, "pairs"), allowHalfOpen: true });
      await once(ours, "connect");
      const theirs = await accepted;
      this.#accepted = undefined;
      return { ours, theirs };
    });
    this.#pairing = pair.catch(() => {});
    return pair;
  }

  #startForker(): void {
    const forker = fork(fileURLToPath(new URL("git-forker.ts", import.meta.url)), [], {
      stdio: ["ignore", "ignore", "inherit", "ipc"],
      execArgv: ["--max-old-space-size=64", "--disable-warning=ExperimentalWarning"],
      env: { PATH: searchPath },
    });
    this.#forker = forker;
    forker.on("message", (message: ForkerMessage) => this.#heard(message));
    forker.on("error", (error) => this.#log.error({ err: error }, "the process that forks git failed"));
    forker.once("exit", () => {
      for (const id of [...this.#running.keys()]) {
        this.#settle(id, { code: null, signal: null, stderr: "the process that forks git ended" });
      }
      if (this.#closed || this.#forker !== forker) return;
      this.#log.error("the process that forks git ended; it is started again");
      this.#startForker();
    });
  }

  #heard(message: ForkerMessage): void {
    const running = this.#running.get(message.id);
    if (running === undefined) return;
    switch (message.type) {
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

function environment(
  env: Readonly<Record<string, string>>,
  config: Readonly<Record<string, string>>,
): Record<string, string> {
  const pairs = Object.entries({ ...fixedConfig, ...config });
  const environment: Record<string, string> = {
    PATH: searchPath,
    HOME: "/nonexistent",
    LANG: "C",
    LC_ALL: "C",
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_TERMINAL_PROMPT: "0",
    GIT_ATTR_NOSYSTEM: "1",
    GIT_CONFIG_COUNT: String(pairs.length),
    ...env,
  };
  for (const [index, [key, value]] of pairs.entries()) {
    environment[`GIT_CONFIG_KEY_${index}`] = key;
    environment[`GIT_CONFIG_VALUE_${index}`] = value;
  }
  return environment;
}
