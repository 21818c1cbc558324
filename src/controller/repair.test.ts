import assert from "node:assert/strict";
import { test } from "node:test";
import { v7 as uuid } from "uuid";
import type { RepositoryView } from "../protocol/public-api.ts";
import { json, type FakeNode } from "./testing/fake-node.ts";
import { secret, TestCluster, until } from "./testing/test-cluster.ts";

const oid = "a".repeat(40);

async function createRepository(cluster: TestCluster, body: object = {}): Promise<RepositoryView> {
  const answer = await cluster.call("POST", "/api/repos/test", body);
  assert.equal(answer.status, 201);
  return (await answer.json()) as RepositoryView;
}

/** Commits straight to the store, as staged on these nodes. */
async function commit(
  cluster: TestCluster,
  repositoryId: string,
  name: string,
  staged: readonly FakeNode[],
): Promise<void> {
  const outcome = await cluster.store.commitRefs({
    repositoryId,
    pushId: uuid(),
    atomic: false,
    changes: [{ name, oldOid: undefined, newOid: oid, peeled: undefined, fastForward: undefined }],
    stagedNodeIds: staged.map(({ id }) => id),
    copies: new Map(),
    seenGeneration: -1,
    writeQuorum: 1,
    committedMs: 1,
  });
  assert.equal(outcome.kind, "committed");
}

async function states(cluster: TestCluster, repositoryId: string): Promise<Record<string, string>> {
  const found = await cluster.store.getRepository(repositoryId);
  return Object.fromEntries(found?.replicas.map(({ nodeId, state }) => [nodeId, state]) ?? []);
}

const nodesOf = (cluster: TestCluster, view: RepositoryView) =>
  view.nodes.map(({ nodeId }) => cluster.nodes.find(({ id }) => id === nodeId) ?? assert.fail());

test("a stale replica catches up from a READY one and is promoted", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 2 });
  const view = await createRepository(cluster, { replicas: 2 });
  const [source, target] = nodesOf(cluster, view);
  assert(source !== undefined && target !== undefined);
  await commit(cluster, view.id, "refs/heads/x", [source]);
  await until("it is READY", async () => (await states(cluster, view.id))[target.id] === "READY");
  const [header, ref] = (target.callsTo("/_catch-up")[0]?.body.toString() ?? "").split("\n");
  assert.equal(JSON.parse(header ?? "").sourceUrl, `${source.url}/node/v1/replicas/${view.id}/git`);
  assert.equal(JSON.parse(header ?? "").generation, 1);
  assert.deepEqual(JSON.parse(ref ?? ""), ["refs/heads/x", oid]);
});

test("what is missed during a catch-up is fetched before the promotion", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 2 });
  const view = await createRepository(cluster, { replicas: 2 });
  const [source, target] = nodesOf(cluster, view);
  assert(source !== undefined && target !== undefined);
  const generations: number[] = [];
  target.behaviours.set("/_catch-up", (call, response) => {
    const { generation } = JSON.parse(call.body.toString().split("\n")[0] ?? "") as { generation: number };
    generations.push(generation);
    const missed = generations.length === 1 ? commit(cluster, view.id, "refs/heads/y", [source]) : Promise.resolve();
    void missed.then(() => json(response, 200, { result: { kind: "caught-up", generation } }));
  });
  await commit(cluster, view.id, "refs/heads/x", [source]);
  await until("it is READY", async () => (await states(cluster, view.id))[target.id] === "READY");
  assert.deepEqual(generations, [1, 2]);
});

test("a catch-up that fails is tried again, later and later", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 2 });
  const view = await createRepository(cluster, { replicas: 2 });
  const [source, target] = nodesOf(cluster, view);
  assert(source !== undefined && target !== undefined);
  target.behaviours.set("/_catch-up", (_call, response) =>
    json(response, 200, { result: { kind: "node-failed", message: "disk" } }),
  );
  await commit(cluster, view.id, "refs/heads/x", [source]);
  await until("it has failed", () => target.callsTo("/_catch-up").length === 1);
  target.behaviours.clear();
  await until("it is READY", async () => (await states(cluster, view.id))[target.id] === "READY");
  assert.equal(target.callsTo("/_catch-up").length, 2);
});

test("a READY replica whose own refs lag gets them from the log", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 2 });
  const view = await createRepository(cluster, { replicas: 2 });
  await commit(cluster, view.id, "refs/heads/x", cluster.nodes);
  await commit(cluster, view.id, "refs/heads/y", cluster.nodes);
  await until("both confirm", async () => {
    const found = await cluster.store.getRepository(view.id);
    return found?.replicas.every(({ generation }) => generation === 2);
  });
  const [call] = cluster.node(0).callsTo("/_apply");
  assert.deepEqual(JSON.parse(call?.body.toString() ?? ""), {
    base: 0,
    generation: 2,
    updates: [
      ["refs/heads/x", oid],
      ["refs/heads/y", oid],
    ],
  });
  assert.equal(cluster.node(0).callsTo("/_catch-up").length, 0);
});

test("a replica on a node that is gone gets a successor, then leaves; its copy is moved aside when it returns", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 3, settings: { repairGraceMs: 500 } });
  const view = await createRepository(cluster, { replicas: 2 });
  const [kept, gone] = nodesOf(cluster, view);
  assert(kept !== undefined && gone !== undefined);
  const heir = cluster.nodes.find((node) => node !== kept && node !== gone) ?? assert.fail();
  await cluster.kill(gone);
  await until("the successor is READY and the lost one is out", async () => {
    const now = await states(cluster, view.id);
    return now[heir.id] === "READY" && now[gone.id] === undefined && now[kept.id] === "READY";
  });
  await cluster.revive(gone);
  const registered = await gone.register(cluster.url, secret, [{ repositoryId: view.id, generation: 0 }]);
  assert.deepEqual(await registered.json(), { deletedRepositoryIds: [], orphanRepositoryIds: [view.id] });
  await until("the surplus copy is moved aside", () => gone.callsTo(`${view.id}/_retire`).length === 1);
  assert.match(gone.callsTo("/_retire")[0]?.body.toString() ?? "", /surplus/);
});

test("a copy that nobody knows is left alone", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 1, settings: { repairIntervalMs: 5 } });
  const node = cluster.node(0);
  const unknown = uuid();
  await node.register(cluster.url, secret, [{ repositoryId: unknown, generation: 3 }]);
  const heartbeats = (await cluster.store.listNodes())[0]?.heartbeatMs ?? 0;
  // Long enough for several looks.
  await until(
    "time has passed",
    async () => ((await cluster.store.listNodes())[0]?.heartbeatMs ?? 0) > heartbeats + 300,
  );
  assert.equal(node.callsTo("/_retire").length, 0);
});

test("more and fewer replicas wanted", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 3 });
  const view = await createRepository(cluster, { replicas: 1 });
  await cluster.call("PATCH", "/api/repos/test", { replicas: 3 });
  await until("there are three", async () => {
    const now = Object.values(await states(cluster, view.id));
    return now.length === 3 && now.every((state) => state === "READY");
  });
  await cluster.call("PATCH", "/api/repos/test", { replicas: 1 });
  await until("there is one", async () => Object.keys(await states(cluster, view.id)).length === 1);
  await until(
    "two are moved aside",
    () => cluster.nodes.filter((node) => node.callsTo("/_retire").length === 1).length === 2,
  );
});

test("with no READY replica only one that proves to be complete is promoted", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 2 });
  const view = await createRepository(cluster, { replicas: 2 });
  const [complete, incomplete] = cluster.nodes;
  assert(complete !== undefined && incomplete !== undefined);
  const sources: unknown[] = [];
  for (const node of [complete, incomplete]) {
    node.behaviours.set("/_catch-up", (call, response) => {
      const { sourceUrl, generation } = JSON.parse(call.body.toString().split("\n")[0] ?? "") as Record<
        string,
        unknown
      >;
      sources.push(sourceUrl);
      const proven = { kind: "caught-up", generation };
      json(response, 200, {
        result: node === complete ? proven : { kind: "node-failed", message: "objects are missing" },
      });
    });
  }
  await cluster.store.markStale(view.id, [complete.id, incomplete.id], "disks older than confirmed", 1);
  await until("the complete one is READY", async () => (await states(cluster, view.id))[complete.id] === "READY");
  assert.equal(sources[0], null);
  assert.notEqual((await states(cluster, view.id))[incomplete.id], "READY");
});

test("the ref log is trimmed", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 1, settings: { replicas: 1, refLogKeep: 3, refLogKeepMs: 1 } });
  const view = await createRepository(cluster);
  for (let index = 0; index < 10; index += 1) await commit(cluster, view.id, `refs/heads/${index}`, cluster.nodes);
  await until("three are left", async () => {
    const entries = await cluster.store.readRefLog(view.id, 0, 100);
    return entries.map(({ generation }) => generation).join() === "8,9,10";
  });
});
