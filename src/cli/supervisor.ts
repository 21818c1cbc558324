/** Keeps the servers of `gitmesh up` running: starts them, restarts one that dies after a pause, stops them all. */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, openSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { request } from "undici";
import type { Clock } from "../base/clock.ts";
import { environmentOfChild } from "../base/config.ts";

export interface ServerPlan {
  /** As in "node-1": of its pid file, log and lines. */
  readonly name: string;
  readonly role: "controller" | "node" | "console";
  readonly port: number;
  /** Settings. The cluster's secret is among them: never among the arguments, which every process may read. */
  readonly environment: Readonly<Record<string, string>>;
}

export interface SupervisorOptions {
  readonly plans: readonly ServerPlan[];
  /** Has the directories run and log. */
  readonly data: string;
  readonly clock: Clock;
  readonly say: (line: string) => void;
}

const pauseMinMs = 500;
const pauseMaxMs = 10_000;
/** A server that lived this long starts anew with the shortest pause. */
const soundMs = 30_000;
const stopMs = 15_000;
const pollMs = 50;
const logBytesMax = 64 * 1024 * 1024;
const mainFile = fileURLToPath(new URL("../main.ts", import.meta.url));

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #servers: SupervisedServer[];
  #stopping = false;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#servers = options.plans.map((plan) => new SupervisedServer(plan, options));
  }

  get stopping(): boolean {
    return this.#stopping;
  }

  start(): void {
    for (const server of this.#servers) server.start();
  }

  /** Resolves when every server says that it can serve. Throws one sentence after `limitMs`, or when one cannot start. */
  async ready(limitMs: number): Promise<void> {
    const { clock } = this.#options;
    const endMs = clock.monotonicMs() + limitMs;
    for (const server of this.#servers) {
      while (!this.#stopping && !(await server.isReady())) {
        const failure = server.failure();
        if (failure !== undefined) throw new Error(failure);
        if (clock.monotonicMs() > endMs) {
          throw new Error(`${server.name} is not ready after ${limitMs / 1000} s; see ${server.logFile}.`);
        }
        await clock.sleep(pollMs);
      }
    }
  }

  /** SIGTERM to all, SIGKILL to those that do not end in time. The repository servers go last. */
  async stop(): Promise<void> {
    this.#stopping = true;
    const nodes = this.#servers.filter((server) => server.role === "node");
    const others = this.#servers.filter((server) => server.role !== "node");
    await Promise.all(others.map((server) => server.stop()));
    await Promise.all(nodes.map((server) => server.stop()));
  }

  kill(): void {
    for (const server of this.#servers) server.kill();
  }
}

class SupervisedServer {
  readonly #plan: ServerPlan;
  readonly #options: SupervisorOptions;
  readonly #pidFile: string;
  readonly logFile: string;
  readonly #abortPause = new AbortController();
  #child: ChildProcess | undefined;
  #loop: Promise<void> = Promise.resolve();
  #stopping = false;
  #earlyDeaths = 0;
  #logStart = 0;

  constructor(plan: ServerPlan, options: SupervisorOptions) {
    this.#plan = plan;
    this.#options = options;
    this.#pidFile = join(options.data, "run", `${plan.name}.pid`);
    this.logFile = join(options.data, "log", `${plan.name}.log`);
  }

  get name(): string {
    return this.#plan.name;
  }

  get role(): ServerPlan["role"] {
    return this.#plan.role;
  }

  start(): void {
    this.#loop = this.#run();
  }

  async isReady(): Promise<boolean> {
    if (this.#child === undefined) return false;
    try {
      const answer = await request(`http://127.0.0.1:${this.#plan.port}/readyz`, {
        headersTimeout: 2000,
        bodyTimeout: 2000,
      });
      await answer.body.dump();
      return answer.statusCode === 200;
    } catch {
      return false;
    }
  }

  /** Why it does not start, once it has died twice without being ready. */
  failure(): string | undefined {
    if (this.#earlyDeaths < 2) return undefined;
    return `${this.name} does not start: ${this.#lastLogLine()} (see ${this.logFile})`;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#abortPause.abort();
    this.#child?.kill("SIGTERM");
    const cancel = this.#options.clock.timer(stopMs, () => this.kill());
    await this.#loop;
    cancel();
  }

  kill(): void {
    this.#child?.kill("SIGKILL");
  }

  async #run(): Promise<void> {
    const { clock, say } = this.#options;
    let pauseMs = pauseMinMs;
    for (;;) {
      const startedMs = clock.monotonicMs();
      const how = await this.#live();
      rmSync(this.#pidFile, { force: true });
      if (this.#stopping) return;
      if (clock.monotonicMs() - startedMs > soundMs) pauseMs = pauseMinMs;
      else this.#earlyDeaths += 1;
      say(`gitmesh: ${this.name} ended (${how}); starting it again in ${pauseMs / 1000} s`);
      await clock.sleep(pauseMs, this.#abortPause.signal);
      if (this.#stopping) return;
      pauseMs = Math.min(pauseMs * 2, pauseMaxMs);
    }
  }

  /** One life of the process; resolves with how it ended. */
  #live(): Promise<string> {
    const log = this.#openLog();
    const child = spawn(process.execPath, [mainFile, this.#plan.role], {
      env: environmentOfChild(this.#plan.environment),
      // The channel tells the server when this process is gone.
      stdio: ["ignore", log, log, "ipc"],
      // Ctrl-C reaches this process alone, which stops the servers in order.
      detached: true,
    });
    closeSync(log);
    this.#child = child;
    if (child.pid !== undefined) writeFileSync(this.#pidFile, `${child.pid}\n`);
    return new Promise((resolve) => {
      child.once("error", (error) => resolve(error.message));
      child.once("exit", (code, signal) => resolve(signal === null ? `status ${code ?? 0}` : `signal ${signal}`));
    }).then((how) => {
      this.#child = undefined;
      return how as string;
    });
  }

  #openLog(): number {
    try {
      if (statSync(this.logFile).size > logBytesMax) renameSync(this.logFile, `${this.logFile}.1`);
    } catch {
      // There is none yet.
    }
    const log = openSync(this.logFile, "a", 0o600);
    this.#logStart = statSync(this.logFile).size;
    return log;
  }

  /** The last line of this life's log that says something to a person. */
  #lastLogLine(): string {
    const lines = readFileSync(this.logFile).subarray(this.#logStart).toString("utf8").trim().split("\n");
    const line = lines.at(-1) ?? "";
    try {
      const entry = JSON.parse(line) as { msg?: string; err?: { message?: string } };
      return entry.err?.message ?? entry.msg ?? line;
    } catch {
      return line === "" ? "no word of why" : line;
    }
  }
}
