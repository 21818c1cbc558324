import assert from "node:assert/strict";
import { test } from "node:test";
import type { RepositoryView } from "./data/api.ts";
import { lagOf, nodeTone, replicaLook, repositoryState, type Replica } from "./repository-state.ts";

const replica = (status: Replica["status"], nodeState: Replica["nodeState"] = "ALIVE", generation = 5): Replica =>
  ({ status, generation, nodeState }) as Replica;
const repository = (nodes: readonly Replica[], aheadGeneration = -1): RepositoryView =>
  ({ nodes, replicas: 3, generation: 5, aheadGeneration }) as unknown as RepositoryView;
const ready = replica("READY");
const dead = replica("READY", "DEAD");

const cases: readonly (readonly [readonly Replica[], string, string])[] = [
  [[ready, ready, ready], "good", "Healthy"],
  [[ready, ready, replica("READY", "SUSPECT")], "good", "Healthy"],
  [[ready, ready, replica("STALE")], "warning", "2 of 3 complete"],
  [[ready, ready, dead], "warning", "2 of 3 on live nodes"],
  [[ready, ready, ready, dead], "good", "Healthy"],
  [[dead, replica("STALE")], "bad", "No complete replica on a live node"],
  [[replica("STALE"), replica("QUARANTINED")], "bad", "No complete replica"],
  [[], "bad", "No complete replica"],
];
for (const [nodes, tone, text] of cases) {
  test(`a repository's state: ${text} (${nodes.map(({ status, nodeState }) => `${status} ${nodeState}`).join(", ")})`, () => {
    assert.deepEqual(repositoryState(repository(nodes)), { tone, text });
  });
}

test("lost pushes are worse than all else", () => {
  assert.deepEqual(repositoryState(repository([ready, ready, ready], 9)), { tone: "bad", text: "Lost pushes: adopt" });
});

test("a replica on a dead node is not green, whatever it has", () => {
  assert.deepEqual(replicaLook(ready), { tone: "good", text: "complete" });
  assert.deepEqual(replicaLook(dead), { tone: "bad", text: "node dead" });
  assert.deepEqual(replicaLook(replica("STALE", "DEAD")), { tone: "bad", text: "behind, node dead" });
  assert.deepEqual(replicaLook(replica("PREPARING", "ALIVE")), { tone: "info", text: "catching up" });
});

test("lag, and a node's state", () => {
  const view = repository([]);
  assert.deepEqual(
    [lagOf(view, replica("STALE", "ALIVE", 3)), lagOf(view, replica("PREPARING", "ALIVE", -1))],
    [2, undefined],
  );
  assert.equal(nodeTone({ state: "DEAD", draining: true }).text, "Dead");
  assert.equal(nodeTone({ state: "ALIVE", draining: true }).text, "Draining");
});
