/** The replicas on the nodes' disks, seen with plain git: nothing of the product between the test and the objects. */
import assert from "node:assert/strict";
import type { Cluster } from "./cluster.ts";
import { refsOfRemote, refsOnDisk } from "./git.ts";
import type { Terminal } from "./terminal.ts";
import { waitFor } from "./wait.ts";

export interface ReplicasExpected {
  /** How many replicas must be READY; default 3. */
  readonly ready?: number;
  /** Commits that were acknowledged: each must be in every READY replica, reachable from its refs. */
  readonly commits?: readonly string[];
  /** For large repositories: `git fsck --connectivity-only`. */
  readonly quick?: boolean;
  readonly limitMs?: number;
}

/** Nodes whose replica says READY. */
export async function readyNodes(cluster: Cluster, name: string): Promise<string[]> {
  const { nodes } = await cluster.show(name);
  const urls = new Set(nodes.filter(({ status }) => status === "READY").map(({ url }) => url));
  return [...(await cluster.replicaDirectories(name)).keys()].filter((node) => urls.has(cluster.nodeUrl(node)));
}

/**
 * Every replica that says READY is a bare repository that git finds nothing wrong with, has the refs that a client is
 * told, and every acknowledged commit. Gives those refs.
 */
export async function assertReplicas(cluster: Cluster, name: string, expected: ReplicasExpected = {}): Promise<string> {
  const { ready = 3, commits = [], quick = false, limitMs } = expected;
  await cluster.waitReady(name, ready, limitMs);
  const terminal = cluster.terminal();
  const refs = await refsOfRemote(terminal, cluster.repo(name));
  const directories = await cluster.replicaDirectories(name);
  const nodes = await readyNodes(cluster, name);
  assert.ok(nodes.length >= ready, `READY on ${nodes.join(", ")}`);
  for (const node of nodes) {
    const directory = directories.get(node);
    assert.ok(directory !== undefined, `${node} says READY without a directory`);
    assert.equal(await refsOnDisk(terminal, directory), refs, `refs on ${node}`);
    assert.equal(await terminal.ok(`git --git-dir='${directory}' rev-parse --is-bare-repository`), "true");
    await assertSound(terminal, node, directory, quick);
    await assertCommits(terminal, node, directory, commits);
  }
  return refs;
}

async function assertSound(terminal: Terminal, node: string, directory: string, quick: boolean): Promise<void> {
  const outcome = await terminal.run(
    `git --git-dir='${directory}' fsck --no-progress --no-dangling ${quick ? "--connectivity-only" : "--full"}`,
  );
  const said = (outcome.stdout + outcome.stderr).replaceAll(/^notice: .*\n/gm, "");
  assert.deepEqual([outcome.code, said], [0, ""], `git fsck on ${node}`);
}

async function assertCommits(
  terminal: Terminal,
  node: string,
  directory: string,
  commits: readonly string[],
): Promise<void> {
  if (commits.length === 0) return;
  const reachable = new Set((await terminal.ok(`git --git-dir='${directory}' rev-list --all`)).split("\n"));
  const missing = commits.filter((commit) => !reachable.has(commit));
  assert.deepEqual(missing, [], `acknowledged commits that ${node} lost`);
}

/** A quarantine directory of a push that a node receives just now. */
export async function waitForQuarantine(cluster: Cluster, node: string): Promise<void> {
  await waitFor(() => cluster.leftovers(node).some((path) => path.includes("objects/tmp_")), {
    what: `${node} to receive a push`,
  });
}
