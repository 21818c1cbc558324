import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClusterView, NodeView } from "./data/api.ts";
import { healthOf } from "./health.ts";

const repositories = { total: 12, degraded: 0, behind: 0, wantedLeast: 3, wantedMost: 3 };
const cluster = (changes: Partial<ClusterView> = {}): ClusterView => ({
  version: "1",
  controller: "c",
  store: { engine: "sqlite", ok: true },
  nodes: { total: 3, alive: 3, suspect: 0, dead: 0 },
  repositories,
  defaults: { replicas: 3, defaultBranch: "master", diskUsageMax: 0.9, repairGraceMs: 600_000 },
  repair: { leader: true, running: [] },
  ...changes,
});
const node = (name: string, state: NodeView["state"]): NodeView =>
  ({ id: name, url: `http://${name}:8082`, state }) as NodeView;
const alive = [node("a", "ALIVE"), node("b", "ALIVE"), node("c", "ALIVE")];

const cases: readonly (readonly [string, ClusterView, readonly NodeView[] | undefined, string, RegExp])[] = [
  ["all is well", cluster(), alive, "good", /^All 12 repositories have 3 complete replicas\. 3 nodes alive\.$/],
  ["nodes are not known yet", cluster(), undefined, "good", /3 nodes alive\./],
  ["one is dead", cluster(), [node("a", "DEAD"), ...alive.slice(1)], "warning", /^a:8082 is dead\./],
  ["one is silent", cluster(), [node("a", "SUSPECT"), ...alive.slice(1)], "warning", /^a:8082 does not answer\./],
  [
    "the counts alone",
    cluster({ nodes: { total: 3, alive: 1, suspect: 1, dead: 1 } }),
    undefined,
    "warning",
    /^2 of 3 nodes do not/,
  ],
  [
    "too few replicas",
    cluster({ repositories: { ...repositories, degraded: 1 } }),
    alive,
    "bad",
    /^1 repository has fewer/,
  ],
  [
    "all of them",
    cluster({ repositories: { ...repositories, degraded: 12 } }),
    alive,
    "bad",
    /^All 12 repositories have fewer/,
  ],
  [
    "lost pushes",
    cluster({ repositories: { ...repositories, behind: 2, degraded: 5 } }),
    alive,
    "bad",
    /^2 repositories lost pushes/,
  ],
  ["no node", cluster({ nodes: { total: 0, alive: 0, suspect: 0, dead: 0 } }), [], "bad", /no repository server yet/],
  [
    "no store",
    cluster({ store: { engine: "postgres", ok: false } }),
    alive,
    "bad",
    /metadata store does not answer\. postgres/,
  ],
  ["no count", cluster({ repositories: null }), alive, "bad", /metadata store does not answer/],
  [
    "empty",
    cluster({ repositories: { ...repositories, total: 0 } }),
    alive,
    "empty",
    /no repositories yet\. 3 nodes ready/,
  ],
  ["one", cluster({ repositories: { ...repositories, total: 1 } }), alive, "good", /^The repository has 3 complete/],
  [
    "mixed",
    cluster({ repositories: { ...repositories, wantedLeast: 1 } }),
    alive,
    "good",
    /their 1 to 3 complete replicas/,
  ],
];

for (const [name, view, nodes, level, text] of cases) {
  test(`health: ${name}`, () => {
    const health = healthOf(view, nodes);
    assert.equal(health.level, level);
    assert.match(`${health.sentence} ${health.detail}`, text);
  });
}
