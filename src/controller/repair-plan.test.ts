import assert from "node:assert/strict";
import { test } from "node:test";
import type { Replica, ReplicaState } from "../store/store.ts";
import type { ClusterNode } from "./cluster-node.ts";
import { planRepair } from "./repair-plan.ts";
import { clusterNode, replica, repository } from "./testing/cluster-states.ts";

const repairGraceMs = 60_000;
const rules = { repairGraceMs, diskUsageMax: 0.9, random: () => 0.5 };
const down = (id: string) => clusterNode(id, { alive: false, silentMs: 10_000 });
const lost = (id: string) => clusterNode(id, { alive: false, silentMs: repairGraceMs });
const up = (...ids: string[]) => ids.map((id) => clusterNode(id));

/** "a:READY b:STALE" */
function replicas(text: string, changes: Partial<Replica> = {}): Replica[] {
  return text.split(" ").map((part) => {
    const [nodeId = "", state = ""] = part.split(":");
    return replica(nodeId, state as ReplicaState, changes);
  });
}

const cases: {
  what: string;
  has: string;
  nodes: ClusterNode[];
  wanted?: number;
  leaving?: string;
  steps: string;
  stuck?: RegExp;
}[] = [
  { what: "all is well", has: "a:READY b:READY c:READY", nodes: up("a", "b", "c", "d"), steps: "" },
  { what: "a stale one catches up", has: "a:READY b:READY c:STALE", nodes: up("a", "b", "c"), steps: "catch-up c" },
  {
    what: "one that was being filled goes on",
    has: "a:READY b:PREPARING c:STALE",
    nodes: up("a", "b", "c"),
    steps: "catch-up b, catch-up c",
  },
  { what: "not on a dead node", has: "a:READY b:READY c:STALE", nodes: [...up("a", "b"), down("c")], steps: "" },
  {
    what: "nor on one that does not answer",
    has: "a:READY b:READY c:STALE",
    nodes: [...up("a", "b"), clusterNode("c", { suspect: true })],
    steps: "",
  },
  {
    what: "not without a source",
    has: "a:READY b:STALE",
    nodes: [down("a"), ...up("b")],
    wanted: 2,
    steps: "",
    stuck: /can be reached/,
  },
  {
    what: "when none is READY each is asked to prove that it is complete, and nothing is added",
    has: "a:STALE b:STALE c:PREPARING",
    nodes: up("a", "b", "c", "d"),
    steps: "catch-up a, catch-up b, catch-up c",
    stuck: /nothing to repair it from/,
  },
  {
    what: "a node that is dead for a moment keeps its place",
    has: "a:READY b:READY c:READY",
    nodes: [...up("a", "b", "d"), down("c")],
    steps: "",
  },
  {
    what: "a draining node's replica gets a successor, and stays until that is READY",
    has: "a:READY b:READY c:READY",
    nodes: [...up("a", "b", "d"), clusterNode("c", { draining: true })],
    steps: "add d",
  },
  {
    what: "it leaves when the wanted number is READY elsewhere",
    has: "a:READY b:READY c:READY d:READY",
    nodes: [...up("a", "b", "d"), clusterNode("c", { draining: true })],
    steps: "remove c",
  },
  {
    what: "not while one of the others is dead",
    has: "a:READY b:READY c:READY d:READY",
    nodes: [...up("a", "d"), down("b"), clusterNode("c", { draining: true })],
    steps: "",
  },
  {
    what: "a draining node is filled, but gets nothing new",
    has: "a:READY b:STALE",
    nodes: [...up("a"), clusterNode("b", { draining: true }), clusterNode("c", { draining: true })],
    wanted: 2,
    steps: "catch-up b",
    stuck: /has room/,
  },
  {
    what: "one that is to move gets a successor on the node that has it already",
    has: "a:READY b:READY c:READY d:STALE",
    nodes: up("a", "b", "c", "d", "e"),
    leaving: "c",
    steps: "catch-up d",
  },
  {
    what: "and leaves then",
    has: "a:READY b:READY c:READY d:READY",
    nodes: up("a", "b", "c", "d", "e"),
    leaving: "c",
    steps: "remove c",
  },
  {
    what: "one that is lost gets a successor",
    has: "a:READY b:READY c:READY",
    nodes: [...up("a", "b", "d"), lost("c")],
    steps: "add d",
  },
  {
    what: "and leaves once that is READY",
    has: "a:READY b:READY c:STALE d:READY",
    nodes: [...up("a", "b", "d"), lost("c")],
    steps: "remove c",
  },
  {
    what: "but not while that is filled",
    has: "a:READY b:READY c:STALE d:PREPARING",
    nodes: [...up("a", "b", "d"), lost("c")],
    steps: "catch-up d",
  },
  {
    what: "no successor where there is no room",
    has: "a:READY b:READY c:READY",
    nodes: [...up("a", "b"), lost("c"), clusterNode("d", { diskUsage: 0.95 })],
    steps: "",
    stuck: /no repository server has room for 1 more/,
  },
  {
    what: "nor on a dead node",
    has: "a:READY b:READY c:READY",
    nodes: [...up("a", "b"), lost("c"), down("d")],
    steps: "",
    stuck: /room/,
  },
  { what: "more wanted, more added", has: "a:READY", nodes: up("a", "b", "c", "d"), steps: "add b, add c" },
  {
    what: "fewer wanted: the one that is not READY goes",
    has: "a:STALE b:READY c:READY",
    nodes: up("a", "b", "c"),
    wanted: 2,
    steps: "remove a",
  },
  {
    what: "fewer wanted: of READY ones the fullest goes",
    has: "a:READY b:READY c:READY",
    nodes: [...up("a"), clusterNode("b", { diskUsage: 0.8 }), ...up("c")],
    wanted: 2,
    steps: "remove b",
  },
  {
    what: "fewer wanted: of equal ones the last goes, the primary stays",
    has: "a:READY b:READY c:READY",
    nodes: up("a", "b", "c"),
    wanted: 1,
    steps: "remove b, remove c",
  },
  {
    what: "fewer wanted, but too few READY on live nodes",
    has: "a:READY b:READY c:STALE",
    nodes: [...up("a"), down("b"), down("c")],
    wanted: 2,
    steps: "",
  },
  {
    what: "a quarantined one is replaced and kept",
    has: "a:READY b:READY c:QUARANTINED",
    nodes: up("a", "b", "c", "d"),
    steps: "add d",
  },
  {
    what: "a quarantined one is kept when it was replaced",
    has: "a:READY b:READY c:QUARANTINED d:READY",
    nodes: up("a", "b", "c", "d"),
    steps: "",
  },
  {
    what: "a quarantined one is no source, and proves nothing",
    has: "a:QUARANTINED b:STALE",
    nodes: up("a", "b", "c"),
    steps: "catch-up b",
    stuck: /nothing to repair it from/,
  },
  { what: "unknown nodes are lost", has: "a:READY b:READY x:READY", nodes: up("a", "b", "d"), steps: "add d" },
];
for (const { what, has, nodes, wanted = 3, leaving = "", steps, stuck } of cases) {
  test(`repair: ${what}`, () => {
    const plan = planRepair({ repository: repository({ replicasWanted: wanted }), replicas: replicas(has) }, nodes, {
      ...rules,
      leaving: new Set(leaving.split(" ")),
    });
    assert.equal(
      plan.steps
        .map((step) => `${step.kind} ${step.nodeId}`)
        .toSorted()
        .join(", "),
      steps,
    );
    if (stuck === undefined) assert.equal(plan.stuck, "");
    else assert.match(plan.stuck, stuck);
  });
}

test("repair: a removal demands the wanted number of READY ones elsewhere", () => {
  const found = { repository: repository(), replicas: replicas("a:READY b:READY c:STALE d:READY") };
  const [step] = planRepair(found, [...up("a", "b", "d"), lost("c")], rules).steps;
  assert(step?.kind === "remove");
  assert.equal(step.readyElsewhere, 3);
});

test("repair: a READY replica whose own refs lag is to apply", () => {
  const found = {
    repository: repository({ generation: 7 }),
    replicas: [...replicas("a:READY b:READY", { generation: 7 }), replica("c", "READY", { generation: 4 })],
  };
  assert.deepEqual(planRepair(found, up("a", "b", "c"), rules).steps, [{ kind: "apply", nodeId: "c", generation: 4 }]);
});
