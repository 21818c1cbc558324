/** What is listed as the repair's work, over a store in memory. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openStore } from "../store/open-store.ts";
import { change, commitOf, committed, repositoryIn } from "../store/testing/fixtures.ts";
import type { ClusterNode } from "./cluster-node.ts";
import { repairStatus } from "./repair-status.ts";
import { clusterNode } from "./testing/cluster-states.ts";

const settings = { repairGraceMs: 600_000, diskUsageMax: 0.9 };
const oid = "1".repeat(40);

async function setUp(nodes: readonly ClusterNode[]) {
  const store = await openStore("sqlite::memory:");
  await store.migrate();
  for (const { id, url } of nodes) {
    const numbers = { diskUsage: 0.1, diskFreeBytes: 1, nowMs: 1, nodeTimeoutMs: 1 };
    await store.registerNode({ id, url, bootId: "b", version: "1", ...numbers, inventory: [], isAlive: () => true });
  }
  const placements = ["a", "b"].map((nodeId) => ({ nodeId, created: true }));
  const repository = await repositoryIn(store, { replicasWanted: 2, placements });
  const status = () => repairStatus(store, { nodes: () => nodes }, settings);
  return { store, repository, status };
}

test("a move: where from and to, since when, and how far the replica is that comes", async () => {
  const { store, repository, status } = await setUp(["a", "b", "c"].map((id) => clusterNode(id)));
  assert.deepEqual(await status(), { work: [], stuck: [] });
  await store.moveReplica(repository.id, "a", "c", 7);
  const place = { repositoryId: repository.id, nodeId: "c", repositoryName: repository.name };
  const numbers = { startedMs: 50, updatedMs: 60, progress: 0.25, failures: 0 };
  await store.saveWork({ ...place, ...numbers, kind: "catch-up", state: "running", detail: "" });
  const { work } = await status();
  const progress = { progress: 0.25, startedMs: 50 };
  assert.deepEqual(
    work.find(({ step }) => step === "move"),
    {
      repository: repository.name,
      nodeId: "a",
      state: "READY",
      step: "move",
      reason: "it was asked to move",
      sinceMs: 7,
      toNodeId: "c",
      ...progress,
    },
  );
  const coming = work.find(({ nodeId }) => nodeId === "c");
  assert.deepEqual([coming?.step, coming?.progress, coming?.startedMs], ["catch-up", 0.25, 50]);
  await store.close();
});

test("what leaves a draining node moves too", async () => {
  const nodes = [clusterNode("a", { draining: true }), clusterNode("b"), clusterNode("c", { diskUsage: 0.99 })];
  const { store, status } = await setUp(nodes);
  const { work, stuck } = await status();
  assert.deepEqual(
    work.map(({ nodeId, step, reason, toNodeId, sinceMs }) => [nodeId, step, reason, toNodeId, sinceMs]),
    [["a", "move", "its repository server is draining", "", -1]],
  );
  assert.equal(stuck.length, 1);
  await store.close();
});

test("a replica that waits for its node says so", async () => {
  const nodes = [clusterNode("a"), clusterNode("b", { alive: false, silentMs: 10_000 })];
  const { store, repository, status } = await setUp(nodes);
  const changes = [change("refs/heads/x", undefined, oid)];
  await committed(store, commitOf(repository.id, changes, { stagedNodeIds: ["a"], writeQuorum: 1 }));
  await store.recordApplied(repository.id, 1, ["a"]);
  const { work } = await status();
  assert.deepEqual(
    work.map(({ nodeId, step, reason }) => [nodeId, step, reason]),
    [["b", "wait", "its repository server is dead; missed generation 1"]],
  );
  await store.close();
});
