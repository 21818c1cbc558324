import assert from "node:assert/strict";
import { test } from "node:test";
import { clusterNode, replica, repository } from "./testing/cluster-states.ts";
import { clientBaseUrl, nodeView, repositoryView } from "./views.ts";

const fallback = "http://127.0.0.1:8081";
const hosts: [string | undefined, string][] = [
  ["git.example:8081", "http://git.example:8081"],
  ["[::1]:80", "http://[::1]:80"],
  ["localhost", "http://localhost"],
  ["evil.example/x", fallback],
  ["a b", fallback],
  ["user@host", fallback],
  ["host:port", fallback],
  ["", fallback],
  [undefined, fallback],
];
for (const [host, url] of hosts) {
  test(`clone URLs for Host ${host ?? "(none)"}`, () => {
    assert.equal(clientBaseUrl(undefined, host, fallback), url);
    assert.equal(clientBaseUrl("https://git.example", host, fallback), "https://git.example");
  });
}

test("the primary is the first READY replica on a live node; each replica tells of its node", () => {
  const replicas = [replica("a", "READY"), replica("gone", "READY"), replica("c", "READY"), replica("d", "READY")];
  const nodes = new Map([
    ["a", clusterNode("a", { alive: false })],
    ["c", clusterNode("c", { suspect: true })],
    ["d", clusterNode("d")],
  ]);
  const view = repositoryView({ repository: repository(), replicas }, nodes, "http://x");
  assert.equal(view.primaryNode, "http://c:8082");
  assert.deepEqual(
    view.nodes.map(({ nodeState }) => nodeState),
    ["DEAD", "DEAD", "SUSPECT", "ALIVE"],
  );
  const dead = repositoryView({ repository: repository(), replicas: replicas.slice(0, 2) }, nodes, "http://x");
  assert.equal(dead.primaryNode, "");
});

test("the primary is the first READY replica, the size that of the largest", () => {
  const replicas = [
    replica("a", "STALE", { sizeBytes: 9 }),
    replica("b", "READY", { sizeBytes: 5 }),
    replica("c", "READY"),
  ];
  const nodes = new Map(["a", "b", "c"].map((id) => [id, clusterNode(id)]));
  const view = repositoryView({ repository: repository(), replicas }, nodes, "http://x");
  assert.deepEqual([view.primaryNode, view.size, view.cloneUrl], ["http://b:8082", 9, "http://x/git/test.git"]);
  const none = repositoryView({ repository: repository(), replicas: replicas.slice(0, 1) }, nodes, "http://x");
  assert.equal(none.primaryNode, "");
});

test("the state of a node", () => {
  const state = (changes: object) => nodeView(clusterNode("a", changes), [], []).state;
  assert.deepEqual(
    [state({}), state({ suspect: true }), state({ suspect: true, alive: false })],
    ["ALIVE", "SUSPECT", "DEAD"],
  );
});
