/** What a crash test works on: one repository of a cluster of real processes, and a working copy of it. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { RepositoryView } from "../support/api.ts";
import type { Cluster } from "../support/cluster.ts";
import { refsOfRemote } from "../support/git.ts";
import { assertReplicas } from "../support/replicas.ts";
import type { Separate } from "../support/servers.ts";
import type { Terminal } from "../support/terminal.ts";
import { waitFor } from "../support/wait.ts";

export const nodes = ["node-1", "node-2", "node-3"] as const;

export class Scene {
  readonly cluster: Cluster<Separate>;
  /** Of the repository, as it is now; "" when it is deleted. */
  name: string;
  readonly work: Terminal;
  /** Commits that a client was told to be taken, or that were found to be. */
  readonly commits: string[] = [];

  private constructor(cluster: Cluster<Separate>, name: string, work: Terminal) {
    this.cluster = cluster;
    this.name = name;
    this.work = work;
  }

  /** A new repository with two branches (master, topic), all replicas READY. */
  static async open(cluster: Cluster<Separate>, name: string): Promise<Scene> {
    await cluster.create(name);
    const terminal = cluster.terminal();
    await terminal.ok("git init -q work");
    const scene = new Scene(cluster, name, terminal.in("work"));
    await scene.commit("first");
    await scene.work.ok(`git push -q ${scene.url} master master:topic`);
    scene.commits.push(await scene.head());
    await cluster.waitReady(name);
    return scene;
  }

  get url(): string {
    return this.cluster.repo(this.name);
  }

  /** One more commit in the working copy, with a file of its own. */
  async commit(text: string): Promise<void> {
    await this.work.ok(
      `echo '${text}' > "file-$(git rev-list --all --count)" && git add . && git commit -q -m '${text}'`,
    );
  }

  async head(): Promise<string> {
    return await this.work.ok("git rev-parse HEAD");
  }

  async refs(): Promise<string> {
    return await refsOfRemote(this.work, this.url);
  }

  /** A commit and a push that must be taken. */
  async push(text: string): Promise<void> {
    await this.commit(text);
    await this.work.ok(`git push -q ${this.url} HEAD:master`);
    this.commits.push(await this.head());
  }

  /** A node misses a push: its replica is STALE when it returns. */
  async missPush(node: string): Promise<void> {
    await this.cluster.kill(node);
    await this.push(`without ${node}`);
  }

  /** The bare repository on a node's disk. */
  async directory(node: string): Promise<string> {
    return this.cluster.replicaDirectory(node, await this.cluster.show(this.name));
  }

  /**
   * After healing: all replicas READY at one generation with equal refs, sound, with every commit that was taken; a new
   * push and clone work; no leftovers on any disk; the lists say the same.
   */
  async assertWhole(): Promise<void> {
    if (this.name === "") return;
    const { cluster, commits, work } = this;
    await assertReplicas(cluster, this.name, { commits });
    await this.push("after all");
    await assertReplicas(cluster, this.name, { commits });
    const clone = `clone-${commits.length}`;
    await work.ok(`git clone -q -b master ${this.url} ../${clone} && git -C ../${clone} fsck --full 2>&1`);
    assert.equal(await work.ok(`git -C ../${clone} rev-parse HEAD`), await this.head());
    await this.#assertDisks();
    await this.#assertLists();
  }

  /** HEAD and name of each replica are those of the store; nothing of a killed process lies about. */
  async #assertDisks(): Promise<void> {
    const view = await this.cluster.show(this.name);
    await waitFor(
      () => {
        for (const node of nodes) {
          const directory = this.cluster.replicaDirectory(node, view);
          assert.equal(readFileSync(join(directory, "HEAD"), "utf8"), `ref: refs/heads/${view.defaultBranch}\n`, node);
          const record = JSON.parse(readFileSync(join(directory, "gitmesh.json"), "utf8")) as { generation: number };
          assert.equal(record.generation, view.generation, `${node}'s record`);
          assert.deepEqual(leftoversOf(this.cluster, node), []);
        }
        return true;
      },
      { what: "disks without leftovers" },
    );
  }

  async #assertLists(): Promise<void> {
    const listed = (await this.cluster.api("GET", `/api/repos?contains=${this.name}`)).body as RepositoryView[];
    assert.deepEqual(
      listed.map(({ name }) => name),
      [this.name],
    );
    for (const { url, repos, state } of await this.cluster.nodes()) {
      assert.equal(state, "ALIVE", url);
      const here = repos.filter(({ name }) => name === this.name);
      const placed = listed[0]?.nodes.some((node) => node.url === url) === true;
      assert.deepEqual(here, placed ? [{ name: this.name, status: "READY" }] : [], url);
    }
  }
}

/** What a killed process may leave on a node's disk and a healed one may not have. */
export function leftoversOf(cluster: Cluster, node: string): string[] {
  const directory = join(cluster.dataDirectory, node);
  const building = globSync("building/*", { cwd: directory }).filter((path) => !path.startsWith("building/template-"));
  const others = globSync(["*.new", "lock.*.json", "lock.*.stale", "replicas/*/*.git/*.new"], { cwd: directory });
  return [...building, ...others, ...cluster.leftovers(node)];
}
