import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClusterNode } from "./cluster-node.ts";
import { rankNodes, type PlacementRules } from "./placement.ts";
import { clusterNode } from "./testing/cluster-states.ts";

const rules: PlacementRules = { diskUsageMax: 0.9, exclude: new Set(), placedOn: () => 0, random: () => 0.5 };
const placed: Record<string, number> = { a: 7, b: 3, c: 5 };

const cases: { what: string; nodes: ClusterNode[]; rules?: Partial<PlacementRules>; order: string }[] = [
  {
    what: "live before suspect before dead",
    nodes: [clusterNode("a", { alive: false }), clusterNode("b", { suspect: true }), clusterNode("c")],
    order: "c b a",
  },
  {
    what: "a live full one before an empty dead one",
    nodes: [clusterNode("a", { alive: false, diskUsage: 0 }), clusterNode("b", { diskUsage: 0.8 })],
    order: "b a",
  },
  {
    what: "full ones are out",
    nodes: [
      clusterNode("a", { diskUsage: 0.9 }),
      clusterNode("b", { diskUsage: 0.95 }),
      clusterNode("c", { diskUsage: 0.89 }),
    ],
    order: "c",
  },
  {
    what: "most room first",
    nodes: [
      clusterNode("a", { diskUsage: 0.5 }),
      clusterNode("b", { diskUsage: 0.1 }),
      clusterNode("c", { diskUsage: 0.3 }),
    ],
    order: "b c a",
  },
  {
    what: "small differences do not count, replicas do",
    nodes: [
      clusterNode("a", { diskUsage: 0.21 }),
      clusterNode("b", { diskUsage: 0.22 }),
      clusterNode("c", { diskUsage: 0.2 }),
    ],
    rules: { placedOn: (id) => placed[id] ?? 0 },
    order: "b c a",
  },
  {
    what: "excluded ones are out",
    nodes: [clusterNode("a"), clusterNode("b")],
    rules: { exclude: new Set(["a"]) },
    order: "b",
  },
  { what: "none", nodes: [], order: "" },
];
for (const { what, nodes, rules: changed, order } of cases) {
  test(`placement: ${what}`, () => {
    assert.equal(
      rankNodes(nodes, { ...rules, ...changed })
        .map(({ id }) => id)
        .join(" "),
      order,
    );
  });
}

test("placement: equals by chance", () => {
  const numbers = [0.9, 0.1, 0.5];
  const ranked = rankNodes([clusterNode("a"), clusterNode("b"), clusterNode("c")], {
    ...rules,
    random: () => numbers.shift() ?? 0,
  });
  assert.equal(ranked.map(({ id }) => id).join(" "), "b c a");
});
