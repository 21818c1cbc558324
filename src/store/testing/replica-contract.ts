/** The contract of replicas' states. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { v7 as uuid } from "uuid";
import type { Store } from "../store.ts";
import {
  change,
  commitOf,
  committed,
  oid,
  registrationOf,
  rejectsWith,
  replicaIn,
  repositoryIn,
  copyIn,
} from "./fixtures.ts";

const topic = "refs/heads/topic";

export function replicaContract(store: () => Store): void {
  void test("records what replicas applied, never going back", async () => {
    const { id } = await repositoryIn(store());
    await store().recordApplied(id, 5, ["n1", "n2"]);
    await store().recordApplied(id, 3, ["n1", "n3"]);
    await store().recordApplied(id, 9, []);
    for (const [nodeId, generation] of [
      ["n1", 5],
      ["n2", 5],
      ["n3", 3],
    ] as const) {
      assert.equal((await replicaIn(store(), id, nodeId)).generation, generation);
    }
  });

  void test("marks READY and PREPARING ones STALE, others not", async () => {
    const { id } = await repositoryIn(store());
    await store().quarantineReplica(id, "n3", "disagrees", 50);
    await store().markStale(id, ["n1", "n3"], "was away", 60);
    const stale = await replicaIn(store(), id, "n1");
    assert.deepEqual([stale.state, stale.reason, stale.stateSinceMs], ["STALE", "was away", 60]);
    const quarantined = await replicaIn(store(), id, "n3");
    assert.deepEqual(
      [quarantined.state, quarantined.reason, quarantined.stateSinceMs],
      ["QUARANTINED", "disagrees", 50],
    );
    assert.equal((await replicaIn(store(), id, "n2")).state, "READY");
    await store().markStale(id, ["n1"], "again", 70);
    assert.equal((await replicaIn(store(), id, "n1")).reason, "was away");
    await store().markStale(uuid(), ["n1"], "no such repository", 70);
  });

  void test("a STALE replica catches up and is promoted", async () => {
    const { id } = await repositoryIn(store());
    assert.equal(await store().beginCatchUp(id, "n1", 1), false, "READY");
    await committed(store(), commitOf(id, [change(topic, undefined, oid(1))], { stagedNodeIds: ["n2", "n3"] }));
    assert.equal(await store().promoteReplica(await copyIn(store(), id, "n1"), 1, 1), false, "STALE");
    assert.equal(await store().beginCatchUp(id, "n1", 5), true);
    assert.equal(await store().beginCatchUp(id, "n1", 5), false);
    assert.equal((await replicaIn(store(), id, "n1")).state, "PREPARING");
    assert.equal(await store().promoteReplica(await copyIn(store(), id, "n1"), 0, 6), false, "it missed generation 1");
    assert.equal(await store().promoteReplica(await copyIn(store(), id, "n1"), 1, 7), true);
    const replica = await replicaIn(store(), id, "n1");
    assert.deepEqual([replica.state, replica.reason, replica.generation, replica.stateSinceMs], ["READY", "", 1, 7]);
    assert.equal(replica.missedGeneration, -1);
    assert.equal(await store().promoteReplica(await copyIn(store(), id, "none"), 1, 7), false);
    assert.equal(await store().promoteReplica(await copyIn(store(), uuid(), "n1"), 1, 7), false);
  });

  void test("a busy repository does not keep a replica behind that stages its pushes", async () => {
    const { id } = await repositoryIn(store());
    await committed(store(), commitOf(id, [change(topic, undefined, oid(1))], { stagedNodeIds: ["n2", "n3"] }));
    await store().beginCatchUp(id, "n1", 5);
    // Fetching what was at generation 1, while two more pushes are staged to it as well.
    await committed(store(), commitOf(id, [change(topic, oid(1), oid(2))]));
    await committed(store(), commitOf(id, [change(topic, oid(2), oid(3))]));
    assert.equal(await store().promoteReplica(await copyIn(store(), id, "n1"), 1, 6), true);
    assert.equal((await replicaIn(store(), id, "n1")).generation, 1);
  });

  void test("a push that a PREPARING replica misses keeps it from being promoted", async () => {
    const { id } = await repositoryIn(store());
    await store().markStale(id, ["n1"], "test", 1);
    await store().beginCatchUp(id, "n1", 5);
    await committed(store(), commitOf(id, [change(topic, undefined, oid(1))], { stagedNodeIds: ["n2", "n3"] }));
    assert.equal(await store().promoteReplica(await copyIn(store(), id, "n1"), 0, 6), false);
    assert.equal(await store().promoteReplica(await copyIn(store(), id, "n1"), 1, 6), true);
  });

  void test("promotion and a push that did not stage are in order: never READY with a push missing", async () => {
    for (let round = 0; round < 10; round++) {
      const { id } = await repositoryIn(store());
      await store().markStale(id, ["n1"], "test", 1);
      await store().beginCatchUp(id, "n1", 5);
      const commit = commitOf(id, [change(topic, undefined, oid(1))], { stagedNodeIds: ["n2", "n3"] });
      const [promoted, outcome] = await Promise.all([
        store().promoteReplica(await copyIn(store(), id, "n1"), 0, 6),
        committed(store(), commit),
      ]);
      const replica = await replicaIn(store(), id, "n1");
      assert.notEqual(replica.state, "READY");
      assert.equal(replica.missedGeneration, 1);
      assert.deepEqual(outcome.staleNodeIds, promoted ? ["n1"] : []);
    }
  });

  void test("adds a replica that has missed everything so far", async () => {
    const node = registrationOf();
    await store().registerNode(node);
    const { id } = await repositoryIn(store());
    await committed(store(), commitOf(id, [change(topic, undefined, oid(1))]));
    assert.equal(await store().addReplica(id, node.id, "replaces n1", 9), true);
    assert.equal(await store().addReplica(id, node.id, "replaces n1", 9), false);
    assert.equal(await store().addReplica(uuid(), node.id, "", 9), false);
    await rejectsWith(store().addReplica(id, uuid(), "", 9), "node-not-found");
    const found = await store().getRepository(id);
    assert.deepEqual(found?.replicas.at(-1), {
      repositoryId: id,
      nodeId: node.id,
      state: "STALE",
      generation: -1,
      missedGeneration: 1,
      reason: "replaces n1",
      stateSinceMs: 9,
      sizeBytes: 0,
      verifiedMs: -1,
      damaged: false,
      copyNumber: 9,
    });
    await store().beginCatchUp(id, node.id, 10);
    assert.equal(await store().promoteReplica(await copyIn(store(), id, node.id), 0, 10), false);
    assert.equal(await store().promoteReplica(await copyIn(store(), id, node.id), 1, 10), true);
  });

  void test("removes a replica only while enough others are READY", async () => {
    const { id } = await repositoryIn(store());
    assert.equal(await store().removeReplica(id, "n1", 3), false);
    assert.equal(await store().removeReplica(id, "n1", 2), true);
    assert.equal(await store().removeReplica(id, "n1", 2), false);
    await store().markStale(id, ["n2"], "test", 1);
    assert.equal(await store().removeReplica(id, "n3", 1), false);
    assert.equal(await store().removeReplica(id, "n2", 1), true);
    assert.deepEqual(
      (await store().getRepository(id))?.replicas.map(({ nodeId }) => nodeId),
      ["n3"],
    );
    assert.equal(await store().removeReplica(uuid(), "n3", 0), false);
  });

  void test("of two removals at once only as many succeed as leave enough", async () => {
    const { id } = await repositoryIn(store());
    const removed = await Promise.all(["n1", "n2", "n3"].map((nodeId) => store().removeReplica(id, nodeId, 1)));
    assert.equal(removed.filter(Boolean).length, 2);
  });

  void test("lists what is unhealthy, by id", async () => {
    const healthy = await repositoryIn(store());
    const stale = await repositoryIn(store());
    const fewer = await repositoryIn(store(), { replicasWanted: 4 });
    const more = await repositoryIn(store());
    const recovered = await repositoryIn(store());
    await store().markStale(stale.id, ["n2"], "test", 1);
    await store().updateRepository(more.id, { replicasWanted: 2 });
    await store().markStale(recovered.id, ["n2"], "test", 1);
    await store().beginCatchUp(recovered.id, "n2", 1);
    await store().promoteReplica(await copyIn(store(), recovered.id, "n2"), 0, 1);
    const ids: string[] = [];
    for (let after = ""; ;) {
      const page = await store().listUnhealthy(after, 3);
      for (const { repository, replicas } of page) {
        assert.ok(replicas.length !== repository.replicasWanted || replicas.some(({ state }) => state !== "READY"));
        ids.push(repository.id);
      }
      const last = page.at(-1);
      if (last === undefined) break;
      after = last.repository.id;
    }
    assert.deepEqual(ids, ids.toSorted());
    for (const { id } of [stale, fewer, more]) assert.ok(ids.includes(id));
    for (const { id } of [healthy, recovered]) assert.ok(!ids.includes(id));
  });

  void test("lists a node's replicas by name", async () => {
    const nodeId = uuid();
    const placements = [{ nodeId, created: true }];
    const second = await repositoryIn(store(), { name: `z-${nodeId}`, placements });
    const first = await repositoryIn(store(), { name: `a-${nodeId}`, placements });
    await store().markStale(second.id, [nodeId], "test", 1);
    assert.deepEqual(
      (await store().listReplicasOfNode(nodeId)).map(({ name, replica }) => [
        name,
        replica.state,
        replica.repositoryId,
      ]),
      [
        [first.name, "READY", first.id],
        [second.name, "STALE", second.id],
      ],
    );
  });
}
