/** A cluster of real processes for one test file, and what a test may see of it: HTTP, git, and the nodes' disks. */
import assert from "node:assert/strict";
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { callApi, type ApiAnswer, type NodeView, type RepositoryView } from "./api.ts";
import { freePorts } from "./ports.ts";
import { processesIn } from "./processes.ts";
import {
  controllerUrl,
  gitmesh,
  nodeUrl,
  numbered,
  Separate,
  Supervised,
  type Layout,
  type Servers,
} from "./servers.ts";
import { cleanEnvironment, Terminal, type Outcome } from "./terminal.ts";
import { waitFor } from "./wait.ts";

export interface ClusterOptions {
  readonly controllers?: number;
  readonly nodes?: number;
  readonly replicas?: number;
  readonly database?: string;
  /** Settings, as in `{ GITMESH_NODE_TIMEOUT_MS: "1000" }`. */
  readonly env?: Readonly<Record<string, string>>;
  /** Of `gitmesh up`: a command that runs it, as in ["strace", "-D"]. */
  readonly wrapper?: readonly string[];
  /** How long the start may take. */
  readonly readyMs?: number;
  /** Puts into the data directory what is there before the start. Gets the directory above it, which is empty. */
  readonly fill?: (workingDirectory: string) => void;
}

const attemptsMax = 3;
const readyDefaultMs = 90_000;
const spareNodes = 2;

/** `gitmesh up`: a server that is killed comes back by itself. Resolves when it can serve. */
export async function startCluster(options: ClusterOptions = {}): Promise<Cluster<Supervised>> {
  for (let attempt = 1; ; attempt += 1) {
    const layout = await newLayout(options);
    const cluster = new Cluster(layout, new Supervised(layout));
    try {
      await cluster.waitServing(options.readyMs);
      return cluster;
    } catch (error) {
      const output = cluster.servers.output();
      await cluster.abandon();
      // Another test may have taken a port since it was found free.
      if (attempt === attemptsMax || !/in use/.test(output))
        throw new Error(`the cluster did not start:\n${output}`, { cause: error });
    }
  }
}

/** Each server by itself: one that is killed stays dead until `start`. Resolves when all serve. */
export async function startServers(options: ClusterOptions = {}): Promise<Cluster<Separate>> {
  const layout = await newLayout(options);
  const cluster = new Cluster(layout, new Separate(layout));
  try {
    await cluster.waitServing();
    return cluster;
  } catch (error) {
    const output = cluster.servers.output();
    await cluster.abandon();
    throw new Error(`the servers did not start:\n${output}`, { cause: error });
  }
}

async function newLayout(options: ClusterOptions): Promise<Layout> {
  const { controllers = 1, nodes = 3, replicas, database, env = {}, wrapper = [], fill } = options;
  const portBase = await freePorts(1 + controllers + nodes + spareNodes);
  const workingDirectory = mkdtempSync(join(tmpdir(), "gitmesh-test-"));
  fill?.(workingDirectory);
  return {
    workingDirectory,
    dataDirectory: join(workingDirectory, "data"),
    portBase,
    controllers,
    nodes,
    replicas,
    database,
    wrapper,
    env: { ...cleanEnvironment(workingDirectory), ...env },
  };
}

export class Cluster<S extends Servers = Servers> {
  readonly servers: S;
  readonly #layout: Layout;
  readonly #paused = new Set<string>();
  #terminals = 0;

  constructor(layout: Layout, servers: S) {
    this.#layout = layout;
    this.servers = servers;
  }

  /** Of the first controller. */
  get url(): string {
    return this.controllerUrl(1);
  }

  get consoleUrl(): string {
    return `http://127.0.0.1:${this.#layout.portBase}`;
  }

  get dataDirectory(): string {
    return this.#layout.dataDirectory;
  }

  controllerUrl(number: number): string {
    return controllerUrl(this.#layout, number);
  }

  /** `node`: as in "node-2". */
  nodeUrl(node: string): string {
    return nodeUrl(this.#layout, Number(node.slice("node-".length)));
  }

  nodeNames(): string[] {
    return Array.from({ length: this.#layout.nodes }, (_, index) => `node-${index + 1}`);
  }

  /** A clone URL. */
  repo(name: string, controller = 1): string {
    return `${this.controllerUrl(controller)}/git/${name}.git`;
  }

  /** A terminal in a new directory, where `$URL` is the controller and `$GIT` what clone URLs begin with. */
  terminal(): Terminal {
    this.#terminals += 1;
    const directory = join(this.#layout.workingDirectory, `terminal-${this.#terminals}`);
    return new Terminal(directory, { URL: this.url, GIT: `${this.url}/git` });
  }

  /** Runs `gitmesh ARGS` against the first controller. */
  async cli(...args: string[]): Promise<Outcome> {
    return await this.terminal()
      .with({ GITMESH_URL: this.url, GITMESH: gitmesh })
      .run(`"$GITMESH" ${args.map((arg) => `'${arg}'`).join(" ")}`);
  }

  async api(method: string, path: string, body?: unknown): Promise<ApiAnswer> {
    return await callApi(`${this.url}${path}`, method, body);
  }

  /** Makes a repository and gives its clone URL. */
  async create(name: string, body?: Readonly<Record<string, unknown>>): Promise<string> {
    const answer = await this.api("POST", `/api/repos/${name}`, body);
    assert.equal(answer.status, 201, JSON.stringify(answer.body));
    return this.repo(name);
  }

  async show(name: string, controller = 1): Promise<RepositoryView> {
    const answer = await callApi(`${this.controllerUrl(controller)}/api/repos/${name}`, "GET");
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    return answer.body as RepositoryView;
  }

  async nodes(controller = 1): Promise<readonly NodeView[]> {
    const answer = await callApi(`${this.controllerUrl(controller)}/api/nodes`, "GET");
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    return answer.body as NodeView[];
  }

  /** The state of a replica, as in "READY"; "none" when the repository has none on this node. */
  async statusOn(node: string, name: string): Promise<string> {
    const { nodes } = await this.show(name);
    return nodes.find(({ url }) => url === this.nodeUrl(node))?.status ?? "none";
  }

  /** Waits until every controller can serve and knows every node of the layout as alive. */
  async waitServing(limitMs = readyDefaultMs): Promise<void> {
    const { controllers, nodes } = this.#layout;
    for (let number = 1; number <= controllers; number += 1) {
      await waitFor(
        async () => {
          const ended = this.servers.ended();
          if (ended.length > 0) return `${ended.join(", ")} ended`;
          // A node that was killed just now still counts as alive; one that is ready has registered.
          for (const node of this.nodeNames()) assert.ok((await fetch(`${this.nodeUrl(node)}/readyz`)).ok, node);
          const known = await this.nodes(number);
          return known.filter(({ state }) => state === "ALIVE").length >= nodes ? "serving" : undefined;
        },
        { what: `controller-${number} to know ${nodes} nodes`, limitMs },
      ).then((outcome) => assert.equal(outcome, "serving"));
    }
  }

  /** Waits until this many replicas are READY and have confirmed the newest generation, and gives the repository. */
  async waitReady(name: string, count = 3, limitMs = 30_000): Promise<RepositoryView> {
    return await waitFor(
      async () => {
        const view = await this.show(name);
        const current = view.nodes.filter((node) => node.status === "READY" && node.generation === view.generation);
        assert.ok(current.length >= count, `${name} at ${view.generation}: ${JSON.stringify(view.nodes)}`);
        return view;
      },
      { what: `${count} READY replicas of ${name}`, limitMs },
    );
  }

  async waitNodeState(node: string, state: string, limitMs = 30_000): Promise<void> {
    await waitFor(
      async () => {
        const known = await this.nodes();
        const states = known.map((view) => `${view.url} ${view.state}`);
        assert.ok(states.includes(`${this.nodeUrl(node)} ${state}`), states.join(", "));
        return true;
      },
      { what: `${node} to be ${state}`, limitMs },
    );
  }

  /** The bare repository of a replica on a node's disk, whether or not it is there. */
  replicaDirectory(node: string, repository: { readonly id: string }): string {
    return join(this.dataDirectory, node, "replicas", repository.id.slice(-2), `${repository.id}.git`);
  }

  /** Bare repositories of this repository on the disks, by node. */
  async replicaDirectories(name: string): Promise<ReadonlyMap<string, string>> {
    const repository = await this.show(name);
    const found = new Map<string, string>();
    for (const node of (await readdir(this.dataDirectory)).filter((entry) => /^node-\d+$/.test(entry)).toSorted()) {
      const directory = this.replicaDirectory(node, repository);
      if (existsSync(directory)) found.set(node, directory);
    }
    return found;
  }

  pid(name: string): number {
    return this.servers.pid(name);
  }

  async kill(name: string): Promise<void> {
    await this.servers.kill(name);
    this.#paused.delete(name);
  }

  /** Starts a server that is not running, and waits until it can serve; a node, until the cluster uses it. */
  async start(name: string): Promise<void> {
    this.servers.start(name);
    const isNode = name.startsWith("node-");
    const url = isNode ? this.nodeUrl(name) : this.controllerUrl(Number(name.slice("controller-".length)));
    await waitFor(async () => (await fetch(`${url}/readyz`)).ok, { what: `${name} to be ready` });
    if (isNode) await this.waitNodeState(name, "ALIVE");
  }

  /** The server hangs: its connections stay open, nothing moves. */
  pause(name: string): void {
    process.kill(this.pid(name), "SIGSTOP");
    this.#paused.add(name);
  }

  /** Whatever a test did to the servers: all of the layout run again. For `afterEach`, so that each test starts whole. */
  async heal(): Promise<void> {
    for (const name of this.#paused) this.resume(name);
    const { controllers, nodes } = this.#layout;
    const wanted = [...numbered("controller", controllers), ...numbered("node", nodes)];
    const running = this.servers.names();
    for (const name of wanted.filter((server) => !running.includes(server))) this.servers.start(name);
    await this.waitServing();
  }

  resume(name: string): void {
    if (this.#paused.delete(name)) process.kill(this.pid(name), "SIGCONT");
  }

  /** The disk of a node that is not running is replaced by an empty one. */
  async emptyDisk(node: string): Promise<void> {
    const directory = join(this.dataDirectory, node);
    for (const entry of await readdir(directory)) await rm(join(directory, entry), { recursive: true });
  }

  /** Quarantine directories and temporary files of a node. */
  leftovers(node: string): string[] {
    return globSync("{replicas,aside}/**/{tmp_*,*.lock,.tmp-*}", { cwd: join(this.dataDirectory, node) }).map(
      (path) => `${node}/${path}`,
    );
  }

  /** Processes of the cluster besides the servers themselves: git, and what forks it. */
  processes(): { readonly pid: number; readonly command: string }[] {
    return processesIn(this.#layout.workingDirectory);
  }

  /** Git processes that the nodes run now. */
  gitProcesses(): string[] {
    return processesIn(this.dataDirectory)
      .filter(({ command }) => /^(?:\S*\/)?git\b/.test(command))
      .map(({ command }) => command);
  }

  /** Everything that a server wrote. */
  log(name: string): string {
    const file = join(this.dataDirectory, "log", `${name}.log`);
    return existsSync(file) ? readFileSync(file, "utf8") : "";
  }

  /**
   * Stops all and removes everything. Fails when a server did not stop cleanly, left processes, quarantine directories
   * or temporary files behind, or logged an error that it did not expect.
   */
  async stop(): Promise<void> {
    const names = this.servers.names();
    try {
      for (const name of this.#paused) this.resume(name);
      await this.servers.stop();
      await waitFor(
        () => {
          assert.deepEqual(this.processes(), []);
          return true;
        },
        { what: "no process to be left", limitMs: 5000 },
      );
      const leftovers = names.filter((name) => name.startsWith("node-")).flatMap((node) => this.leftovers(node));
      assert.deepEqual(leftovers, [], "leftovers on the nodes' disks");
      const unexpected = names.flatMap((name) =>
        this.log(name)
          .split("\n")
          .filter((line) => line.includes("an unexpected error"))
          .map((line) => `${name}: ${line.slice(0, 600)}`),
      );
      assert.deepEqual(unexpected.slice(0, 3), [], `${unexpected.length} unexpected errors in the logs`);
    } finally {
      await this.abandon();
    }
  }

  /** Ends all without a look, for a start that failed and after a stop. */
  async abandon(): Promise<void> {
    const { workingDirectory } = this.#layout;
    await this.servers.stop().catch(() => {});
    for (const { pid } of this.processes()) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has ended.
      }
    }
    rmSync(workingDirectory, { recursive: true, force: true, maxRetries: 3 });
  }
}
