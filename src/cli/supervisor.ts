/** Keeps the servers of `gitmesh up` running: starts them, restarts one that dies after a pause, stops them all. */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { request } from "undici";
import type { Clock } from "../base/clock.ts";
import { environmentOfChild } from "../base/config.ts";
import { messageOf } from "../base/errors.ts";
import type { ServerPlan } from "./cluster-plan.ts";
import { lastLogLine, openLog } from "./server-log.ts";

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
const soundMs = 10_000;
const stopMs = 15_000;
const pollMs = 50;
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

  /**
   * Resolves when the servers can serve. Throws one sentence when one cannot start or is not ready after `limitMs`;
   * for a repository server that sentence is only said, as long as there is another one: the cluster lives without it.
   */
  async ready(limitMs: number): Promise<void> {
    const { clock, say } = this.#options;
    const endMs = clock.monotonicMs() + limitMs;
    let nodes = this.#servers.filter((server) => server.role === "node").length;
    for (const server of this.#servers) {
      const failure = await this.#failureOf(server, endMs);
      if (this.#stopping) return;
      if (failure === undefined) say(`gitmesh: ${server.name} is ready`);
      else if (server.role !== "node" || (nodes -= 1) === 0) throw new Error(failure);
      else say(`gitmesh: ${failure}; going on without it`);
    }
  }

  async #failureOf(server: SupervisedServer, endMs: number): Promise<string | undefined> {
    const { clock } = this.#options;
    while (!this.#stopping && !(await server.isReady())) {
      if (server.failure !== undefined) return server.failure;
      if (clock.monotonicMs() > endMs) return `${server.name} does not become ready; see ${server.logFile}`;
      await clock.sleep(pollMs);
    }
    return undefined;
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

  /** Why it does not start, once it has ended twice soon after its start. */
  get failure(): string | undefined {
    if (this.#earlyDeaths < 2) return undefined;
    return `${this.name} does not start: ${lastLogLine(this.logFile, this.#logStart)} (see ${this.logFile})`;
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

  /** One life of the process; resolves with how it ended, or why it did not begin. */
  async #live(): Promise<string> {
    try {
      const child = this.#spawn();
      this.#child = child;
      if (child.pid !== undefined) this.#writePid(child.pid);
      return await this.#endOf(child);
    } catch (error) {
      this.kill();
      return messageOf(error);
    } finally {
      this.#child = undefined;
    }
  }

  #spawn(): ChildProcess {
    const { file: log, size } = openLog(this.logFile);
    this.#logStart = size;
    // The name is for people who look at a list of processes.
    const child = spawn(process.execPath, [mainFile, this.#plan.role, "--name", this.name], {
      env: environmentOfChild(this.#plan.environment),
      // The channel tells the server when this process is gone.
      stdio: ["ignore", log, log, "ipc"],
      // Ctrl-C reaches this process alone, which stops the servers in order.
      detached: true,
    });
    closeSync(log);
    return child;
  }

  #endOf(child: ChildProcess): Promise<string> {
    return new Promise((resolve) => {
      child.once("error", (error) => resolve(error.message));
      child.once("exit", (code, signal) => resolve(signal === null ? this.#statusText(code ?? 0) : `signal ${signal}`));
    });
  }

  #statusText(code: number): string {
    return code === 0 ? "status 0" : `status ${code}: ${lastLogLine(this.logFile, this.#logStart)}`;
  }

  /** At once whole: whoever reads it signals that process. */
  #writePid(pid: number): void {
    writeFileSync(`${this.#pidFile}.new`, `${pid}\n`);
    renameSync(`${this.#pidFile}.new`, this.#pidFile);
  }
}
