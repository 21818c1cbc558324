import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { v7 as uuid } from "uuid";
import type { RepositoryView } from "../protocol/public-api.ts";
import { json, type FakeNode } from "./testing/fake-node.ts";
import { TestCluster, until } from "./testing/test-cluster.ts";

async function start(t: TestContext, settings: Record<string, unknown> = {}, replicas = 2) {
  const cluster = await TestCluster.start(t, { nodes: 3, settings });
  const answer = await cluster.call("POST", "/api/repos/test", { replicas });
  assert.equal(answer.status, 201);
  const view = (await answer.json()) as RepositoryView;
  const [first, second] = view.nodes.map(({ nodeId }) => nodeOf(cluster, nodeId));
  assert(first !== undefined);
  return { cluster, view, first, second: second ?? first };
}

function nodeOf(cluster: TestCluster, id: string): FakeNode {
  return cluster.nodes.find((node) => node.id === id) ?? assert.fail();
}

async function replicaOn(cluster: TestCluster, id: string, node: FakeNode) {
  const found = await cluster.store.getRepository(id);
  return found?.replicas.find(({ nodeId }) => nodeId === node.id) ?? assert.fail();
}

/** Resolves when the controller takes it for dead. */
async function killUntilDead(cluster: TestCluster, node: FakeNode): Promise<void> {
  await cluster.kill(node);
  await until("it is dead", async () => {
    const { nodes } = (await (await cluster.call("GET", "/api/cluster")).json()) as { nodes: { dead: number } };
    return nodes.dead === 1;
  });
}

const ask = (cluster: TestCluster) => cluster.call("POST", "/api/repos/test/_verify");

/** Every answer to a verification is this. */
function answers(node: FakeNode, result: Record<string, unknown>): void {
  node.behaviours.set("/_verify", (call, response) => {
    const { generation } = JSON.parse(call.body.toString()) as { generation: number };
    json(response, 200, { result: { kind: "verified", generation, refs: "same", problems: [], ...result } });
  });
}

test("what is asked for is verified and recorded", async (t) => {
  const { cluster, view, first } = await start(t);
  const answer = await ask(cluster);
  assert.equal(answer.status, 202);
  const asked = (await answer.json()) as RepositoryView;
  assert.deepEqual(
    asked.nodes.map(({ verifiedAt }) => verifiedAt),
    [-2, -2],
  );
  await until("it is verified", async () => (await replicaOn(cluster, view.id, first)).verifiedMs > view.createdAt);
  const requests = first.callsTo("/_verify").map(({ body }) => JSON.parse(body.toString()) as { objects: boolean });
  assert.deepEqual(
    requests.map(({ objects }) => objects),
    [false, true],
    "the refs at once, then the objects",
  );
});

test("all are verified in turn when their time has come, without being asked", async (t) => {
  const { cluster, view, first, second } = await start(t, { scrubIntervalMs: 300, scrubShare: 1 });
  for (const node of [first, second]) {
    await until("it is verified", async () => (await replicaOn(cluster, view.id, node)).verifiedMs > view.createdAt);
  }
});

test("a node rests between two verifications, but not before one that is asked for", async (t) => {
  const { cluster, view, first } = await start(t, { scrubIntervalMs: 1, scrubShare: 1e-9 });
  await until("it is verified", async () => (await replicaOn(cluster, view.id, first)).verifiedMs > view.createdAt);
  const { verifiedMs } = await replicaOn(cluster, view.id, first);
  const calls = first.callsTo("/_verify").length;
  await ask(cluster);
  await until("it is verified again", async () => (await replicaOn(cluster, view.id, first)).verifiedMs > verifiedMs);
  assert.equal(first.callsTo("/_verify").length, calls + 2);
});

test("a damaged replica is moved aside and filled anew", async (t) => {
  const { cluster, view, first, second } = await start(t);
  answers(first, { problems: ["missing blob"] });
  await ask(cluster);
  await until("it is filled again", () => first.callsTo("/_catch-up").length > 0);
  const order = first.calls.map(({ path }) => path.split("/").at(-1)).filter((word) => word?.startsWith("_") === true);
  assert.deepEqual(order.slice(-2), ["_retire", "_catch-up"]);
  const retire = JSON.parse(first.callsTo("/_retire")[0]?.body.toString() ?? "") as { reason: string };
  assert.equal(retire.reason, "damaged");
  await until("it is READY", async () => (await replicaOn(cluster, view.id, first)).state === "READY");
  assert.equal(second.callsTo("/_retire").length, 0);
});

test("a copy that cannot catch up because it is damaged itself is filled anew", async (t) => {
  const { cluster, view, first } = await start(t);
  // As it is when packs rot on a replica that is not READY, which nothing reads.
  first.behaviours.set("/_catch-up", (_call, response) =>
    json(response, 200, { result: { kind: "node-failed", message: "packed object is corrupt" } }),
  );
  answers(first, { problems: ["packed object is corrupt"] });
  first.behaviours.set("/_retire", (_call, response) => {
    first.behaviours.clear();
    response.writeHead(204).end();
  });
  await cluster.store.markStale(view.id, [first.id], "was away", 1);
  await until("it is READY", async () => (await replicaOn(cluster, view.id, first)).state === "READY");
  assert.equal(first.callsTo("/_retire").length, 1);
});

test("a replica that another cannot be filled from is verified, and damage found", async (t) => {
  const { cluster, view, first, second } = await start(t);
  first.behaviours.set("/_catch-up", (_call, response) =>
    json(response, 200, {
      result: { kind: "node-failed", message: "fetch: not our ref", sourceFailed: true },
    }),
  );
  answers(second, { problems: ["missing commit"] });
  await cluster.store.markStale(view.id, [first.id], "was away", 1);
  await until("the damage is known", async () => {
    return (await replicaOn(cluster, view.id, second)).reason.includes("missing commit");
  });
  first.behaviours.delete("/_catch-up");
});

test("a copy that cannot catch up for another reason stays where it is", async (t) => {
  const { cluster, view, first } = await start(t);
  first.behaviours.set("/_catch-up", (_call, response) =>
    json(response, 200, { result: { kind: "node-failed", message: "no space left on device" } }),
  );
  await cluster.store.markStale(view.id, [first.id], "was away", 1);
  await until("it was verified", () => first.callsTo("/_verify").length > 0);
  await until("it was tried again", () => first.callsTo("/_catch-up").length > 1);
  assert.equal(first.callsTo("/_retire").length, 0);
});

test("a copy that was moved aside leaves no empty READY replica; a second record of it changes nothing", async (t) => {
  const { cluster, view, first } = await start(t);
  const copy = await replicaOn(cluster, view.id, first);
  await cluster.store.recordMovedAside(copy, 1);
  await until("it is filled and READY", async () => (await replicaOn(cluster, view.id, first)).state === "READY");
  assert.ok(first.callsTo("/_catch-up").length > 0);
  await cluster.store.recordMovedAside(copy, 2);
  assert.equal((await replicaOn(cluster, view.id, first)).state, "READY");
});

test("a damaged copy is not touched while no other can be reached, and filled when one can", async (t) => {
  const { cluster, view, first, second } = await start(t);
  await killUntilDead(cluster, second);
  const copy = await replicaOn(cluster, view.id, first);
  assert.equal(await cluster.store.markDamaged(copy, "damaged: rot", 1, { byHand: false }), "marked");
  await until("the repair has looked at it", async () => {
    const { stuck } = (await (await cluster.call("GET", "/api/repair")).json()) as { stuck: unknown[] };
    return stuck.length > 0;
  });
  assert.equal(first.callsTo("/_retire").length, 0);
  assert.equal((await replicaOn(cluster, view.id, first)).state, "STALE");
  await cluster.revive(second);
  await until("it is READY and sound", async () => {
    const replica = await replicaOn(cluster, view.id, first);
    return replica.state === "READY" && !replica.damaged;
  });
});

test("the only complete copy that can be reached is not given up for a rebuild", async (t) => {
  const { cluster, view, first, second } = await start(t);
  await killUntilDead(cluster, second);
  const rebuild = () => cluster.call("POST", `/api/repos/test/_rebuild?node=${encodeURIComponent(first.id)}`);
  const answer = await rebuild();
  assert.equal(answer.status, 503);
  assert.equal(((await answer.json()) as { code: string }).code, "no-ready-replica");
  assert.equal((await replicaOn(cluster, view.id, first)).state, "READY");
  await cluster.revive(second);
  await until("it is filled anew", async () => {
    const { status } = await rebuild();
    return status === 202;
  });
  await until("it is filled anew", () => first.callsTo("/_retire").length > 0);
});

test("the only complete copy stays READY, with the reason", async (t) => {
  const { cluster, view, first } = await start(t, {}, 1);
  answers(first, { problems: ["missing blob"] });
  await ask(cluster);
  await until("it says so", async () => (await replicaOn(cluster, view.id, first)).reason.includes("missing blob"));
  assert.equal((await replicaOn(cluster, view.id, first)).state, "READY");
  assert.equal(first.callsTo("/_retire").length, 0);
  const risks = (await (await cluster.call("GET", "/api/cluster/dataloss")).json()) as unknown[];
  assert.equal(risks.length, 1);
});

test("refs that differ: it catches up, and keeps its objects", async (t) => {
  const { cluster, view, first } = await start(t);
  let different = true;
  first.behaviours.set("/_verify", (_call, response) => {
    const result = { kind: "verified", generation: 0, refs: different ? "differ" : "same", problems: [] };
    json(response, 200, { result });
  });
  await ask(cluster);
  await until("it catches up", () => first.callsTo("/_catch-up").length > 0);
  different = false;
  await until("it is READY", async () => (await replicaOn(cluster, view.id, first)).state === "READY");
  assert.equal(first.callsTo("/_retire").length, 0);
});

test("one that is ahead of the store is kept for a person", async (t) => {
  const { cluster, view, first } = await start(t);
  answers(first, { generation: 7, refs: "not-compared" });
  await ask(cluster);
  await until("it is kept", async () => (await replicaOn(cluster, view.id, first)).state === "QUARANTINED");
  assert.match((await replicaOn(cluster, view.id, first)).reason, /generation 7 on disk/);
  const repair = (await (await cluster.call("GET", "/api/repair")).json()) as { work: { status: string }[] };
  assert.ok(repair.work.some(({ status }) => status === "QUARANTINED"));
});

test("a node that cannot verify now is asked again later, and others meanwhile", async (t) => {
  const { cluster, view, first } = await start(t);
  const other = (await (await cluster.call("POST", "/api/repos/other", { replicas: 3 })).json()) as RepositoryView;
  first.behaviours.set(`${view.id}/_verify`, (_call, response) =>
    json(response, 200, { result: { kind: "node-failed", message: "no memory" } }),
  );
  await ask(cluster);
  await until("it was asked", () => first.callsTo(`${view.id}/_verify`).length > 0);
  await cluster.call("POST", "/api/repos/other/_verify");
  await until("the other one", async () => (await replicaOn(cluster, other.id, first)).verifiedMs > other.createdAt);
  assert.equal((await replicaOn(cluster, view.id, first)).state, "READY", "no evidence against the replica");
  first.behaviours.clear();
  await until("it is verified", async () => (await replicaOn(cluster, view.id, first)).verifiedMs > view.createdAt);
});

const asideCopy = (repositoryId: string, movedMs: number, reason = "surplus", ageMs = Date.now() - movedMs) => ({
  entry: `${repositoryId}.${movedMs}.${reason}.git`,
  repositoryId,
  name: "test",
  reason,
  movedMs,
  ageMs,
  sizeBytes: 1,
});

test("a copy aside is deleted when it is old and the wanted number is verified elsewhere, not before", async (t) => {
  const settings = { repairIntervalMs: 5, asideKeepMs: 60_000 };
  const { cluster, view, first, second } = await start(t, settings);
  const third = cluster.nodes.find((node) => node !== first && node !== second) ?? assert.fail();
  const nowMs = Date.now();
  const unknown = uuid();
  const old = nowMs - 3_600_000;
  third.aside.push(
    asideCopy(view.id, old),
    asideCopy(view.id, nowMs),
    // Its node's clock does not find it old; or it is this controller's clock that jumped.
    asideCopy(view.id, old + 1, "surplus", 10),
    asideCopy(unknown, old),
  );
  const purged = () =>
    third.callsTo("/_purge").map(({ body }) => (JSON.parse(body.toString()) as { entry: string }).entry);
  // Neither replica was verified since the copy was moved.
  await cluster.store.requestVerification(first.id, [view.id], undefined);
  first.behaviours.set("/_verify", (_call, response) =>
    json(response, 200, { result: { kind: "node-failed", message: "busy" } }),
  );
  const looks = third.callsTo("/copies").length;
  await until("it was looked at twice", () => third.callsTo("/copies").length >= looks + 2);
  assert.deepEqual(purged(), []);
  first.behaviours.clear();
  await until("it is deleted", () => purged().length > 0, 20_000);
  assert.deepEqual([...new Set(purged())], [asideCopy(view.id, old).entry]);
});

test("a copy of a deleted repository is deleted when it is old by every clock and the store has not got it again", async (t) => {
  const settings = { repairIntervalMs: 5, asideKeepMs: 86_400_000, deletedKeepMs: 60_000 };
  const { cluster, view } = await start(t, settings);
  const node = cluster.nodes[0] ?? assert.fail();
  const nowMs = Date.now();
  const old = nowMs - 3_600_000;
  const deletedAt = async (ms: number): Promise<string> => {
    const made = (await (await cluster.call("POST", `/api/repos/deleted-${ms}`)).json()) as RepositoryView;
    await cluster.store.deleteRepository(made.id, ms);
    return made.id;
  };
  const long = await deletedAt(old);
  const lately = await deletedAt(nowMs);
  node.aside.push(
    // Restored from a backup: the store has it.
    asideCopy(view.id, old, "deleted"),
    asideCopy(lately, old, "deleted"),
    asideCopy(long, nowMs, "deleted"),
    asideCopy(long, old + 1, "deleted", 10),
    asideCopy(long, old, "deleted"),
  );
  const purged = () =>
    node.callsTo("/_purge").map(({ body }) => (JSON.parse(body.toString()) as { entry: string }).entry);
  await until("it is deleted", () => purged().length > 1, 20_000);
  assert.deepEqual([...new Set(purged())], [asideCopy(long, old, "deleted").entry]);
});
