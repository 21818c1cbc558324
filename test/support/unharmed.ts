/** That bad requests harmed nothing: the same refs, READY replicas, no processes, no leftovers, and pushes go on. */
import assert from "node:assert/strict";
import type { Cluster } from "./cluster.ts";
import { refsOfRemote } from "./git.ts";
import { assertReplicas } from "./replicas.ts";
import { waitFor } from "./wait.ts";

/** `refs`: what the repository had before. */
export async function assertUnharmed(cluster: Cluster, name: string, refs: string): Promise<void> {
  assert.equal(await refsOfRemote(cluster.terminal(), cluster.repo(name)), refs);
  await assertNothingRuns(cluster);
  assert.equal(await assertReplicas(cluster, name), refs);
  for (const { state, url } of await cluster.nodes())
    assert.equal(state, "ALIVE", `a client's mistake was held against ${url}`);
}

/** No git process and no quarantine directory on any node. */
export async function assertNothingRuns(cluster: Cluster, limitMs = 20_000): Promise<void> {
  await waitFor(
    () => {
      assert.deepEqual(cluster.gitProcesses(), []);
      for (const node of cluster.nodeNames()) assert.deepEqual(cluster.leftovers(node), []);
      return true;
    },
    { what: "no git process and no quarantine directory to be left", limitMs },
  );
}
