/** The cluster's server processes: each in its own network, with a disk of its own (nodes) and a clock that can jump. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isRunning, ServerProcess } from "../support/processes.ts";
import { gitmesh } from "../support/servers.ts";
import { cleanEnvironment } from "../support/terminal.ts";
import { waitFor, within } from "../support/wait.ts";
import type { Network } from "./network.ts";

export interface ServersOptions {
  readonly directory: string;
  readonly network: Network;
  readonly controllers: readonly string[];
  readonly nodes: readonly string[];
  /** Settings, as in `{ GITMESH_NODE_TIMEOUT_MS: "1000" }`. */
  readonly env: Readonly<Record<string, string>>;
  readonly diskBytes: number;
}

export const fakeTimeLibrary = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
const secret = "secret-of-a-chaos-cluster";
const killLimitMs = 30_000;
const stopLimitMs = 60_000;

export class ChaosServers {
  readonly names: readonly string[];
  readonly nodes: readonly string[];
  readonly controllers: readonly string[];
  readonly #options: ServersOptions;
  readonly #processes = new Map<string, ServerProcess>();
  readonly #paused = new Map<string, readonly number[]>();

  /** Makes the nodes' disks; starts nothing. */
  constructor(options: ServersOptions) {
    this.#options = options;
    this.controllers = options.controllers;
    this.nodes = options.nodes;
    this.names = [...options.controllers, ...options.nodes];
    for (const name of ["log", "clock"]) mkdirSync(join(options.directory, name), { recursive: true });
    for (const name of this.names) this.setClock(name, 0);
    for (const node of options.nodes) {
      mkdirSync(this.disk(node), { recursive: true });
      run("mount", "-t", "tmpfs", "-o", `size=${options.diskBytes},mode=755`, "tmpfs", this.disk(node));
    }
  }

  /** Where a node's file system is mounted. */
  disk(node: string): string {
    return join(this.#options.directory, node);
  }

  logFile(server: string): string {
    return join(this.#options.directory, "log", `${server}.log`);
  }

  log(server: string): string {
    return existsSync(this.logFile(server)) ? readFileSync(this.logFile(server), "utf8") : "";
  }

  isRunning(server: string): boolean {
    return this.#processes.get(server)?.running === true;
  }

  start(server: string): void {
    assert.ok(!this.isRunning(server), `${server} is running`);
    const [program = "", ...args] = this.#options.network.enter(server);
    const role = server.replace(/-\d+$/, "");
    const process = new ServerProcess(program, [...args, gitmesh, role], {
      cwd: this.#options.directory,
      env: this.#environment(server),
      logFile: this.logFile(server),
    });
    this.#processes.set(server, process);
  }

  /** kill -9, of the server's process alone: what it started is to notice by itself. */
  async kill(server: string): Promise<void> {
    const process = this.#processes.get(server);
    if (process === undefined) return;
    this.#processes.delete(server);
    process.signal("SIGKILL");
    await within(killLimitMs, `killing ${server}`, process.exited);
  }

  /** Those that were started, not killed, and ended. Each is told once. */
  takeEnded(): string[] {
    const ended = [...this.#processes].filter(([, process]) => !process.running).map(([name]) => name);
    for (const name of ended) this.#processes.delete(name);
    return ended;
  }

  async waitReady(server: string, limitMs: number): Promise<void> {
    const url = `${this.#options.network.outsideUrl(server)}/readyz`;
    await waitFor(async () => (await fetch(url, { signal: AbortSignal.timeout(2000) })).ok, {
      what: `${server} to be ready`,
      limitMs,
    });
  }

  /** Processes that belong to a server: itself, its forker, their git. */
  processes(server: string): number[] {
    const relay = this.#options.network.relayPid(server);
    const network = readlinkSync(`/proc/${relay}/ns/net`);
    return readdirSync("/proc")
      .filter((entry) => /^\d+$/.test(entry) && Number(entry) !== relay)
      .filter((pid) => {
        try {
          return readlinkSync(`/proc/${pid}/ns/net`) === network && isRunning(Number(pid));
        } catch {
          return false;
        }
      })
      .map(Number);
  }

  /** SIGSTOP, of the server alone or with all that it started. */
  pause(server: string, withChildren: boolean): void {
    const own = this.#processes.get(server);
    if (own?.running !== true) return;
    const pids = withChildren ? this.processes(server) : [own.pid];
    this.#paused.set(server, pids);
    for (const pid of pids) send(pid, "SIGSTOP");
  }

  resume(server: string): void {
    for (const pid of this.#paused.get(server) ?? []) send(pid, "SIGCONT");
    this.#paused.delete(server);
  }

  /** Moves the clock of a server against the true time; takes effect within a second. */
  setClock(server: string, offsetSeconds: number): void {
    const sign = offsetSeconds < 0 ? "-" : "+";
    writeFileSync(this.#clockFile(server), `${sign}${Math.abs(offsetSeconds)}\n`);
  }

  /** SIGTERM to all; gives those that did not end with status 0. */
  async stop(): Promise<string[]> {
    for (const server of this.#paused.keys()) this.resume(server);
    const processes = [...this.#processes];
    this.#processes.clear();
    for (const [, process] of processes) process.signal("SIGTERM");
    const exits = await Promise.all(
      processes.map(async ([name, process]) => {
        try {
          const { code, signal } = await within(stopLimitMs, `stopping ${name}`, process.exited);
          return code === 0 ? "" : `${name} ended with ${signal ?? code}`;
        } catch (error) {
          process.signal("SIGKILL");
          return String(error);
        }
      }),
    );
    return exits.filter((problem) => problem !== "");
  }

  unmountDisks(): void {
    for (const node of this.nodes) run("umount", this.disk(node));
  }

  #clockFile(server: string): string {
    return join(this.#options.directory, "clock", server);
  }

  #environment(server: string): Record<string, string> {
    const { directory, network, controllers, env } = this.#options;
    const common = {
      ...cleanEnvironment(directory),
      ...env,
      GITMESH_SECRET: secret,
      GITMESH_NAME: server,
      GITMESH_LISTEN: network.address(server),
      LD_PRELOAD: fakeTimeLibrary,
      FAKETIME_TIMESTAMP_FILE: this.#clockFile(server),
      FAKETIME_CACHE_DURATION: "1",
      // As a machine whose clock is set: timers go on as before.
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
      DONT_FAKE_MONOTONIC: "1",
    };
    if (controllers.includes(server)) return { ...common, GITMESH_DATABASE: network.databaseUrl };
    return {
      ...common,
      GITMESH_CONTROLLERS: controllers.map((controller) => `http://${network.address(controller)}`).join(","),
      GITMESH_DIRECTORY: this.disk(server),
    };
  }
}

/** Runs a program to its end; throws when it fails. */
export function run(program: string, ...args: string[]): void {
  const { status, stderr, error } = spawnSync(program, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${program} ${args.join(" ")} failed: ${error?.message ?? stderr}`);
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended.
  }
}
