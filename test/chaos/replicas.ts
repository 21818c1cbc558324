/** The repositories and their replicas: what the cluster says of them, and what git finds on the disks. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { callApi, type RepositoryView } from "../support/api.ts";
import { refsOfRemote, refsOnDisk } from "../support/git.ts";
import type { Terminal } from "../support/terminal.ts";
import { waitFor } from "../support/wait.ts";
import type { Network } from "./network.ts";
import type { ChaosServers } from "./servers.ts";

export interface ReplicasOptions {
  readonly servers: ChaosServers;
  readonly network: Network;
  readonly terminal: Terminal;
  readonly wanted: number;
}

export interface ReplicaOnDisk {
  readonly name: string;
  readonly node: string;
  readonly directory: string;
}

const askAgainMs = 10_000;

export class Replicas {
  readonly #options: ReplicasOptions;
  readonly #damaged = new Set<string>();
  /** Why they were not whole when this was last asked. */
  lastTrouble = "";

  constructor(options: ReplicasOptions) {
    this.#options = options;
  }

  /** Every replica of every repository is READY: has every object that was acknowledged. Its own refs may lag a little. */
  async areReady(): Promise<boolean> {
    return await this.#are((view) => this.#isReady(view));
  }

  /** Every replica of every repository is READY at the newest generation. */
  async areWhole(): Promise<boolean> {
    return await this.#are((view) => this.#isWhole(view));
  }

  async #are(wanted: (view: RepositoryView) => boolean): Promise<boolean> {
    try {
      const trouble = (await this.list()).filter((view) => !wanted(view)).map((view) => describe(view));
      this.lastTrouble = trouble.slice(0, 5).join("; ");
      return trouble.length === 0;
    } catch (error) {
      this.lastTrouble = String(error);
      return false;
    }
  }

  /** As areWhole, and none more than wanted: a surplus one is about to go. */
  async areSettled(): Promise<boolean> {
    if (!(await this.areWhole())) return false;
    const surplus = (await this.list()).filter(({ nodes }) => nodes.length > this.#options.wanted);
    this.lastTrouble = surplus.map(({ name, nodes }) => `${name} has ${nodes.length} replicas`).join("; ");
    return surplus.length === 0;
  }

  async list(): Promise<readonly RepositoryView[]> {
    const { network, servers } = this.#options;
    let last: unknown;
    for (const controller of servers.controllers) {
      try {
        const answer = await callApi(`${network.outsideUrl(controller)}/api/repos?limit=10000`, "GET");
        assert.equal(answer.status, 200, JSON.stringify(answer.body));
        return answer.body as RepositoryView[];
      } catch (error) {
        last = error;
      }
    }
    throw last instanceof Error ? last : new Error("no controller answers");
  }

  /** The READY replicas of a node. */
  async onNode(node: string): Promise<ReplicaOnDisk[]> {
    return (await this.list()).flatMap((view) => this.onDisks(view)).filter((replica) => replica.node === node);
  }

  /** The READY replicas of a repository. */
  onDisks(view: RepositoryView): ReplicaOnDisk[] {
    const { network, servers } = this.#options;
    return view.nodes.flatMap(({ url, status }) => {
      const node = servers.nodes.find((name) => `http://${network.address(name)}` === url);
      if (node === undefined || status !== "READY") return [];
      const directory = join(servers.disk(node), "replicas", view.id.slice(-2), `${view.id}.git`);
      return [{ name: view.name, node, directory }];
    });
  }

  /**
   * Has the cluster look at every replica of a repository, until all are READY and git finds nothing wrong with them. More
   * than once: only READY replicas are looked at, and while other faults go on not each is. When `calm` aborts, other faults
   * are over, and there is `limitMs` left.
   */
  async waitSound(name: string, calm: AbortSignal, limitMs: number): Promise<void> {
    let askedMs = Number.NEGATIVE_INFINITY;
    let calmMs = Number.POSITIVE_INFINITY;
    await waitFor(
      async () => {
        if (performance.now() - askedMs >= askAgainMs) {
          await this.#verify(name);
          askedMs = performance.now();
        }
        if (calm.aborted) calmMs = Math.min(calmMs, performance.now());
        const trouble = await this.#troubleOf(name);
        if (trouble.length === 0) return { sound: true };
        if (performance.now() - calmMs > limitMs) return { sound: false, trouble };
        return undefined;
      },
      { what: `${name} to be healed`, limitMs: Number.MAX_SAFE_INTEGER },
    ).then(({ sound, trouble }) => assert.ok(sound, `${name} was not healed: ${trouble?.join("; ")}`));
  }

  /** Until the returned function is called, a replica of this repository is damaged. */
  noteDamage(name: string): () => void {
    this.#damaged.add(name);
    return () => this.#damaged.delete(name);
  }

  isDamaged(name: string): boolean {
    return this.#damaged.has(name);
  }

  async #troubleOf(name: string): Promise<string[]> {
    const view = (await this.list()).find((repository) => repository.name === name);
    // It may have been deleted.
    if (view === undefined) return [];
    return this.#isReady(view) ? await this.unsound(view) : [describe(view)];
  }

  /** What git finds wrong with the READY replicas of a repository: objects, and refs that differ from those told. */
  async faultsOf(view: RepositoryView): Promise<string[]> {
    const { terminal, network, servers } = this.#options;
    const found = await this.unsound(view);
    const told = await Promise.all(
      servers.controllers.map((name) => refsOfRemote(terminal, `${network.outsideUrl(name)}/git/${view.name}.git`)),
    );
    const [refs = ""] = told;
    if (told.some((other) => other !== refs)) found.push(`${view.name}: controllers tell different refs`);
    for (const { node, directory } of this.onDisks(view)) {
      const onDisk = await refsOnDisk(terminal, directory).catch((error: unknown) => String(error));
      if (onDisk !== refs) found.push(`${view.name} on ${node}: diverged, on disk:\n${onDisk}\ntold:\n${refs}`);
    }
    return found;
  }

  /** What git finds wrong with the objects of the READY replicas of a repository, and with what its refs reach. */
  async unsound(view: RepositoryView): Promise<string[]> {
    const found: string[] = [];
    for (const { node, directory } of this.onDisks(view)) {
      if (!existsSync(directory)) {
        found.push(`${view.name} on ${node}: says READY without a directory`);
        continue;
      }
      for (const how of ["--connectivity-only", "--full"]) {
        const { code, stdout, stderr } = await this.#options.terminal.run(
          `git --git-dir='${directory}' fsck --no-progress --no-dangling ${how}`,
        );
        const said = (stdout + stderr).replaceAll(/^notice: .*\n/gm, "");
        if (code !== 0 || said !== "") found.push(`${view.name} on ${node}: git fsck ${how} (${code}): ${said}`);
      }
    }
    return found;
  }

  /** Those of the commits that a READY replica's ref does not reach. */
  async missing(replica: ReplicaOnDisk, ref: string, commits: readonly string[]): Promise<string[]> {
    const { code, stdout } = await this.#options.terminal.run(`git --git-dir='${replica.directory}' rev-list '${ref}'`);
    const reached = new Set(code === 0 ? stdout.split("\n") : []);
    return commits.filter((commit) => !reached.has(commit));
  }

  #isReady({ nodes }: RepositoryView): boolean {
    return nodes.length >= this.#options.wanted && nodes.every(({ status }) => status === "READY");
  }

  #isWhole(view: RepositoryView): boolean {
    return this.#isReady(view) && view.nodes.every(({ generation }) => generation === view.generation);
  }

  async #verify(name: string): Promise<void> {
    const { network, servers } = this.#options;
    for (const controller of servers.controllers) {
      try {
        const { status } = await callApi(`${network.outsideUrl(controller)}/api/repos/${name}/_verify`, "POST");
        if (status === 202 || status === 404) return;
      } catch {
        // The other one may answer.
      }
    }
    throw new Error(`no controller takes the verification of ${name}`);
  }
}

function describe({ name, generation, nodes }: RepositoryView): string {
  const states = nodes.map((node) => `${node.url} ${node.status} ${node.generation} ${node.reason}`);
  return `${name} at ${generation}: ${states.join(", ")}`;
}
