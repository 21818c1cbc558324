/** What a crash test works on: one repository of a cluster of real processes, and a working copy of it. */
import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { RepositoryView } from "../support/api.ts";
import type { Cluster } from "../support/cluster.ts";
import { refsOfRemote, refsOnDisk } from "../support/git.ts";
import type { Separate } from "../support/servers.ts";
import type { Terminal } from "../support/terminal.ts";
import { waitFor } from "../support/wait.ts";

export class Scene {
  readonly cluster: Cluster<Separate>;
  /** Of the repository, as it is now; "" when it is deleted. */
  name: string;
  readonly work: Terminal;
  /** Commits that a client was told to be taken, or that were found to be. */
  readonly commits: string[] = [];
  #clones = 0;

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

  /** Goes on with another repository, which is empty. */
  moveTo(name: string): void {
    this.name = name;
    this.commits.length = 0;
  }

  /** One more commit in the working copy, with a file of its own. */
  async commit(text: string): Promise<void> {
    const file = '"file-$(git rev-list --all --count)"';
    await this.work.ok(`echo '${text}' > ${file} && git add . && git commit -q -m '${text}'`);
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

  async view(): Promise<RepositoryView> {
    return await this.cluster.show(this.name);
  }

  /** The bare repository on a node's disk, whether or not it is there. */
  async directory(node: string): Promise<string> {
    return this.cluster.replicaDirectory(node, await this.view());
  }

  /** The nodes that the store places replicas on. */
  async nodes(): Promise<string[]> {
    const urls = new Set((await this.view()).nodes.map(({ url }) => url));
    return [...new Set([...this.cluster.nodeNames(), "node-4"])].filter((node) => urls.has(this.cluster.nodeUrl(node)));
  }

  /**
   * After healing: all replicas READY at one generation with equal refs, sound, with every commit that was taken; a new
   * push and clone work; no leftovers on any disk; the lists say the same.
   */
  async assertWhole(): Promise<void> {
    if (this.name === "") return;
    await this.#assertReplicas();
    await this.push("after all");
    await this.#assertReplicas();
    this.#clones += 1;
    const clone = `../clone-${this.#clones}`;
    const cloned = await this.work.ok(
      `git clone -q -b master ${this.url} ${clone} && git -C ${clone} fsck --full 2>&1 && git -C ${clone} rev-parse HEAD`,
    );
    assert.equal(cloned, this.commits.at(-1));
    await this.#assertLists();
  }

  /**
   * On the disk of a node that has just died, before anything heals: what is recorded is never ahead of the refs. (The
   * healing would hide it: a replica that does not follow has all its refs set anew.)
   */
  async assertRecordHolds(node: string): Promise<void> {
    const directory = await this.directory(node);
    const { generation, refs } = await this.#refsAt();
    if (!existsSync(join(directory, "gitmesh.json"))) return;
    const record = JSON.parse(readFileSync(join(directory, "gitmesh.json"), "utf8")) as { generation: number };
    assert.ok(record.generation <= generation, `${node} at ${record.generation} of ${generation}`);
    if (record.generation !== generation) return;
    assert.equal(await refsOnDisk(this.work, directory), refs, `${node} recorded ${generation} without its refs`);
  }

  async #refsAt(): Promise<{ readonly generation: number; readonly refs: string }> {
    const refs = await this.refs();
    return { generation: (await this.view()).generation, refs };
  }

  /** With plain git on the disks, in one go. */
  async #assertReplicas(): Promise<void> {
    const { replicas } = await this.view();
    // One more than wanted is on its way out, where a server that starts slowly was taken for lost.
    await waitFor(async () => (await this.nodes()).length === replicas, { what: "neither more nor fewer replicas" });
    const view = await this.cluster.waitReady(this.name, replicas);
    const refs = await this.refs();
    const nodes = await this.nodes();
    for (const node of nodes) {
      const directory = this.cluster.replicaDirectory(node, view);
      const seen = await this.work.ok(`
        export GIT_DIR='${directory}'
        git for-each-ref --format='%(objectname) %(refname)' | LC_ALL=C sort -k2
        echo --
        git fsck --full --no-progress --no-dangling 2>&1 | grep -v '^notice: ' || true
        echo --
        git rev-list --all`);
      const [onDisk = "", found, history = ""] = seen.split(/^--$/m).map((part) => part.trim());
      assert.equal(onDisk, refs, `refs on ${node}`);
      assert.equal(found, "", `git fsck on ${node}`);
      const missing = this.commits.filter((commit) => !history.includes(commit));
      assert.deepEqual(missing, [], `acknowledged commits that ${node} lost`);
    }
    await this.#assertFiles(nodes, view);
  }

  /** HEAD and generation of each replica are those of the store; nothing of a killed process lies about. */
  async #assertFiles(nodes: readonly string[], view: RepositoryView): Promise<void> {
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
      { what: "disks that agree with the store, without leftovers" },
    );
  }

  async #assertLists(): Promise<void> {
    const all = (await this.cluster.api("GET", "/api/repos?limit=1000")).body as RepositoryView[];
    const listed = all.filter(({ name }) => name === this.name);
    assert.equal(listed.length, 1, "listed once");
    for (const { url, repos } of await this.cluster.nodes()) {
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
