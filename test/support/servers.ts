/** The processes of a test's cluster: all under `gitmesh up`, or each by itself so that a dead one stays dead. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isRunning, ServerProcess } from "./processes.ts";
import { waitFor, within } from "./wait.ts";

export const gitmesh = join(import.meta.dirname, "../../bin/gitmesh");

export interface Layout {
  readonly dataDirectory: string;
  /** Where the processes run: none may be left in it. */
  readonly workingDirectory: string;
  readonly portBase: number;
  readonly controllers: number;
  readonly nodes: number;
  readonly replicas: number | undefined;
  readonly database: string | undefined;
  readonly env: Readonly<Record<string, string>>;
  /** Command that runs `gitmesh up`; empty: it runs by itself. */
  readonly wrapper: readonly string[];
}

export interface Servers {
  /** Of the process that serves now, as in "node-2". */
  pid(name: string): number;
  /** Ends a server without a word and waits until it is gone. */
  kill(name: string): Promise<void>;
  /** Starts one that is not running. */
  start(name: string): void;
  /** Those that should be running now. */
  names(): string[];
  /** Those of them that ended by themselves. */
  ended(): string[];
  /** SIGTERM to all; resolves when they have ended. Fails when one does not end, or not with status 0. */
  stop(): Promise<void>;
  /** What they said, for a failure's message. */
  output(): string;
}

const stopLimitMs = 30_000;
const killLimitMs = 10_000;
const crashLimitMs = 30_000;

export function controllerUrl(layout: Layout, number: number): string {
  return `http://127.0.0.1:${layout.portBase + number}`;
}

export function nodeUrl(layout: Layout, number: number): string {
  return `http://127.0.0.1:${layout.portBase + layout.controllers + number}`;
}

/** One `gitmesh up`, which starts a server that died again. */
export class Supervised implements Servers {
  readonly #layout: Layout;
  readonly #log: string;
  #up: ServerProcess | undefined;

  constructor(layout: Layout) {
    this.#layout = layout;
    this.#log = join(layout.workingDirectory, "up.log");
    this.start();
  }

  pid(name: string): number {
    return Number(readFileSync(join(this.#layout.dataDirectory, "run", `${name}.pid`), "utf8"));
  }

  async kill(name: string): Promise<void> {
    const pid = this.pid(name);
    process.kill(pid, "SIGKILL");
    await waitFor(() => !isRunning(pid), { what: `${name} to be gone`, limitMs: killLimitMs });
  }

  /** Starts all after stop(). */
  start(): void {
    const { dataDirectory, workingDirectory, portBase, controllers, nodes, replicas, database, env } = this.#layout;
    const args = ["up", "--data", dataDirectory, "--port-base", String(portBase), "--controllers", String(controllers)];
    args.push("--nodes", String(nodes));
    if (replicas !== undefined) args.push("--replicas", String(replicas));
    if (database !== undefined) args.push("--database", database);
    const [command = gitmesh, ...rest] = [...this.#layout.wrapper, gitmesh, ...args];
    this.#up = new ServerProcess(command, rest, { cwd: workingDirectory, env, logFile: this.#log });
  }

  names(): string[] {
    const { controllers, nodes } = this.#layout;
    return [...numbered("controller", controllers), ...numbered("node", nodes)];
  }

  /** kill -9 of `gitmesh up` itself. */
  async killSupervisor(): Promise<void> {
    const up = this.#up;
    this.#up = undefined;
    up?.signal("SIGKILL");
    await up?.exited;
  }

  ended(): string[] {
    return this.#up?.running === false ? ["gitmesh up"] : [];
  }

  async stop(): Promise<void> {
    const up = this.#up;
    if (up === undefined) return;
    const running = up.running;
    this.#up = undefined;
    await stopProcesses([["gitmesh up", up]]);
    assert.ok(running, `gitmesh up ended by itself:\n${this.output()}`);
  }

  output(): string {
    return existsSync(this.#log) ? readFileSync(this.#log, "utf8") : "";
  }
}

/** `gitmesh controller` and `gitmesh node`, each by itself, as on several machines. */
export class Separate implements Servers {
  readonly #layout: Layout;
  readonly #secret = "secret-of-a-test-cluster";
  readonly #processes = new Map<string, ServerProcess>();

  constructor(layout: Layout) {
    this.#layout = layout;
    mkdirSync(join(layout.dataDirectory, "log"), { recursive: true });
    for (const name of [...numbered("controller", layout.controllers), ...numbered("node", layout.nodes)])
      this.start(name);
  }

  get secret(): string {
    return this.#secret;
  }

  pid(name: string): number {
    const process = this.#processes.get(name);
    assert.ok(process?.running, `${name} is not running:\n${this.output()}`);
    return process.pid;
  }

  async kill(name: string): Promise<void> {
    const process = this.#processes.get(name);
    assert.ok(process !== undefined, `there is no ${name}`);
    this.#processes.delete(name);
    process.signal("SIGKILL");
    await within(killLimitMs, `killing ${name}`, process.exited);
  }

  /** Waits until a server has ended by SIGKILL without being asked to; it counts as not running then. */
  async untilKilled(name: string): Promise<void> {
    const process = this.#processes.get(name);
    assert.ok(process !== undefined, `there is no ${name}`);
    const exit = await within(crashLimitMs, `the crash of ${name}`, process.exited);
    assert.equal(exit.signal, "SIGKILL", `${name} ended with ${exit.code}:\n${this.output()}`);
    this.#processes.delete(name);
  }

  /** One that has ended counts as not running, whatever ended it: for what follows a test that has failed. */
  forgetEnded(name: string): void {
    if (this.#processes.get(name)?.running === false) this.#processes.delete(name);
  }

  isRunning(name: string): boolean {
    return this.#processes.get(name)?.running === true;
  }

  /** SIGTERM to one; does not wait. */
  terminate(name: string): void {
    this.#processes.get(name)?.signal("SIGTERM");
  }

  /** Also for a node beyond those of the layout, as in "node-4", and for "console". `env` goes before all else. */
  start(name: string, env: Readonly<Record<string, string>> = {}): void {
    assert.ok(this.#processes.get(name)?.running !== true, `${name} is running`);
    const { dataDirectory, workingDirectory } = this.#layout;
    const role = name.replace(/-\d+$/, "");
    const process = new ServerProcess(gitmesh, [role], {
      cwd: workingDirectory,
      env: { ...this.#environment(name), ...env },
      logFile: join(dataDirectory, "log", `${name}.log`),
    });
    this.#processes.set(name, process);
  }

  names(): string[] {
    return [...this.#processes.keys()].toSorted();
  }

  ended(): string[] {
    return this.names().filter((name) => this.#processes.get(name)?.running === false);
  }

  async stop(): Promise<void> {
    const processes = [...this.#processes];
    const ended = this.ended();
    this.#processes.clear();
    await stopProcesses(processes);
    assert.deepEqual(ended, [], `servers that ended by themselves:\n${this.output()}`);
  }

  output(): string {
    const logs = join(this.#layout.dataDirectory, "log");
    return [...numbered("controller", this.#layout.controllers), ...numbered("node", this.#layout.nodes)]
      .map((name) => join(logs, `${name}.log`))
      .filter((file) => existsSync(file))
      .map((file) => `${file}:\n${readFileSync(file, "utf8").split("\n").slice(-20).join("\n")}`)
      .join("\n");
  }

  #environment(name: string): Record<string, string> {
    const layout = this.#layout;
    const number = Number(name.replace(/^\D+-/, ""));
    const common = { ...layout.env, GITMESH_SECRET: this.#secret, GITMESH_NAME: name };
    if (name.startsWith("controller-")) {
      return {
        ...common,
        GITMESH_LISTEN: new URL(controllerUrl(layout, number)).host,
        GITMESH_DATABASE: layout.database ?? `sqlite:${join(layout.dataDirectory, "gitmesh.sqlite")}`,
        ...(layout.replicas === undefined ? {} : { GITMESH_REPLICAS: String(layout.replicas) }),
      };
    }
    const controllers = numbered("controller", layout.controllers)
      .map((_, index) => controllerUrl(layout, index + 1))
      .join(",");
    if (name === "console") {
      return { ...common, GITMESH_LISTEN: `127.0.0.1:${layout.portBase}`, GITMESH_CONTROLLERS: controllers };
    }
    return {
      ...common,
      GITMESH_LISTEN: new URL(nodeUrl(layout, number)).host,
      GITMESH_CONTROLLERS: controllers,
      GITMESH_DIRECTORY: join(layout.dataDirectory, name),
    };
  }
}

export function numbered(role: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${role}-${index + 1}`);
}

async function stopProcesses(processes: readonly (readonly [string, ServerProcess])[]): Promise<void> {
  for (const [, process] of processes) if (process.running) process.signal("SIGTERM");
  const exits = await Promise.all(
    processes.map(async ([name, process]) => {
      const exit = await within(stopLimitMs, `stopping ${name}`, process.exited).catch((error: unknown) => {
        process.signal("SIGKILL");
        throw error;
      });
      return `${name}: ${exit.signal ?? exit.code}`;
    }),
  );
  assert.deepEqual(
    exits,
    processes.map(([name]) => `${name}: 0`),
    "servers that did not stop cleanly",
  );
}
