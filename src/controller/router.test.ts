import assert from "node:assert/strict";
import { test } from "node:test";
import type { ReplicaState } from "../store/store.ts";
import { routeRead, routeWrite } from "./router.ts";
import { clusterNode, replica } from "./testing/cluster-states.ts";

const states = (...list: [string, ReplicaState][]) => list.map(([nodeId, state]) => replica(nodeId, state));
const threeReady = states(["a", "READY"], ["b", "READY"], ["c", "READY"]);

const reads = [
  {
    what: "least busy first",
    replicas: threeReady,
    nodes: [clusterNode("a", { inFlight: 2 }), clusterNode("b", { inFlight: 1 }), clusterNode("c")],
    order: "c b a",
  },
  {
    what: "suspects last",
    replicas: threeReady,
    nodes: [clusterNode("a", { suspect: true }), clusterNode("b", { inFlight: 9 }), clusterNode("c")],
    order: "c b a",
  },
  {
    what: "dead ones not at all",
    replicas: threeReady,
    nodes: [clusterNode("a", { alive: false }), clusterNode("b"), clusterNode("c", { alive: false })],
    order: "b",
  },
  { what: "unknown nodes not at all", replicas: threeReady, nodes: [clusterNode("b")], order: "b" },
  {
    what: "only READY ones",
    replicas: states(["a", "STALE"], ["b", "PREPARING"], ["c", "READY"], ["d", "QUARANTINED"]),
    nodes: ["a", "b", "c", "d"].map((id) => clusterNode(id)),
    order: "c",
  },
];
for (const { what, replicas, nodes, order } of reads) {
  test(`a read: ${what}`, () => {
    const route = routeRead(replicas, nodes, 0);
    assert.equal(route.candidates.map(({ nodeId }) => nodeId).join(" "), order);
    assert.equal(route.reason, "");
  });
}

test("a read: equals take turns", () => {
  const nodes = ["a", "b", "c"].map((id) => clusterNode(id));
  const firsts = [0, 1, 2, 3].map((turn) => routeRead(threeReady, nodes, turn).candidates[0]?.nodeId);
  assert.deepEqual(firsts, ["a", "b", "c", "a"]);
});

test("a read that nobody can serve says why", () => {
  const dead = ["a", "b", "c"].map((id) => clusterNode(id, { alive: false }));
  assert.deepEqual(routeRead(threeReady, dead, 5), {
    candidates: [],
    reason: "none of its 3 complete replicas can be reached",
  });
  assert.match(routeRead(states(["a", "STALE"]), [clusterNode("a")], 0).reason, /no replica .* is complete/);
});

const writes = [
  {
    what: "all of them",
    replicas: threeReady,
    nodes: [clusterNode("a"), clusterNode("b"), clusterNode("c")],
    targets: "a b c",
  },
  {
    what: "PREPARING ones too",
    replicas: states(["a", "READY"], ["b", "READY"], ["c", "PREPARING"]),
    nodes: [clusterNode("a"), clusterNode("b"), clusterNode("c")],
    targets: "a b (c)",
  },
  {
    what: "neither dead nor suspect",
    replicas: states(["a", "READY"], ["b", "READY"], ["c", "READY"], ["d", "READY"]),
    nodes: [
      clusterNode("a"),
      clusterNode("b"),
      clusterNode("c", { alive: false }),
      clusterNode("d", { suspect: true }),
    ],
    targets: "a b",
  },
  {
    what: "neither STALE nor QUARANTINED",
    replicas: states(["a", "READY"], ["b", "READY"], ["c", "STALE"], ["d", "QUARANTINED"]),
    nodes: ["a", "b", "c", "d"].map((id) => clusterNode(id)),
    targets: "a b",
  },
];
for (const { what, replicas, nodes, targets } of writes) {
  test(`a write: ${what}`, () => {
    const route = routeWrite(replicas, nodes, 2);
    assert(route.kind === "stage");
    assert.equal(route.targets.map(({ nodeId, ready }) => (ready ? nodeId : `(${nodeId})`)).join(" "), targets);
  });
}

test("a write without a quorum of READY replicas is refused in words", () => {
  const replicas = states(["a", "READY"], ["b", "PREPARING"], ["c", "READY"]);
  const nodes = [clusterNode("a"), clusterNode("b"), clusterNode("c", { suspect: true })];
  const route = routeWrite(replicas, nodes, 2);
  assert(route.kind === "no-quorum");
  assert.deepEqual([route.ready, route.needed], [1, 2]);
  assert.match(route.sentence, /^only 1 of the 2 complete replicas/);
});
