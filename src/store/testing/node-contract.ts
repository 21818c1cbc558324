/** The contract of nodes and of the lease. */
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
  type StoreFactory,
} from "./fixtures.ts";

const nothing = { staleRepositoryIds: [], deletedRepositoryIds: [], orphanRepositoryIds: [], aheadRepositoryIds: [] };

export function nodeContract(store: () => Store, factory: StoreFactory): void {
  void test("registers a node, again under the same identity, and lists it", async () => {
    const first = registrationOf();
    assert.deepEqual(await store().registerNode(first), { kind: "registered", ...nothing });
    const moved = { ...first, url: `${first.url}/moved`, bootId: "boot-2", nowMs: 20_000, diskUsage: 0.5 };
    assert.deepEqual(await store().registerNode(moved), { kind: "registered", ...nothing });
    assert.deepEqual(
      (await store().listNodes()).filter(({ id }) => id === first.id),
      [
        {
          id: first.id,
          url: moved.url,
          bootId: "boot-2",
          version: "0.1.0",
          registeredMs: 10_000,
          heartbeatMs: 20_000,
          diskUsage: 0.5,
          diskFreeBytes: 5_000_000_000_000,
          draining: false,
          toldDead: false,
          loadAverage: -1,
        },
      ],
    );
  });

  void test("marks STALE what the disk lacks or has older, QUARANTINED what it has newer, and sorts out the rest", async () => {
    const node = registrationOf();
    await store().registerNode(node);
    const placements = [
      { nodeId: node.id, created: true },
      { nodeId: "n2", created: true },
    ];
    const make = async (): Promise<string> => (await repositoryIn(store(), { placements, replicasWanted: 2 })).id;
    const [fine, missing, older, ahead, quarantined, deleted, waiting] = [
      await make(),
      await make(),
      await make(),
      await make(),
      await make(),
      await make(),
      await make(),
    ];
    const elsewhere = (await repositoryIn(store())).id;
    for (const id of [fine, older, ahead]) {
      await committed(
        store(),
        commitOf(id, [change("refs/heads/a", undefined, oid(1))], { stagedNodeIds: [node.id, "n2"] }),
      );
      await store().recordApplied(id, 1, [node.id, "n2"]);
    }
    await store().quarantineReplica(quarantined, node.id, "disagrees", 1);
    await store().deleteRepository(deleted, 1);
    await store().markStale(waiting, [node.id], "was away", 1);
    const unknown = uuid();
    const inventory = [
      { repositoryId: fine, generation: 1 },
      { repositoryId: older, generation: 0 },
      { repositoryId: ahead, generation: 2 },
      { repositoryId: deleted, generation: 0 },
      { repositoryId: waiting, generation: 0 },
      { repositoryId: elsewhere, generation: 0 },
      { repositoryId: unknown, generation: 0 },
    ];
    const outcome = await store().registerNode({ ...node, bootId: "boot-2", inventory, nowMs: 30_000 });
    assert.equal(outcome.kind, "registered");
    assert.deepEqual(new Set(outcome.staleRepositoryIds), new Set([missing, older]));
    assert.deepEqual(outcome.deletedRepositoryIds, [deleted]);
    assert.deepEqual(outcome.orphanRepositoryIds, [elsewhere, unknown]);
    const state = async (id: string): Promise<unknown[]> => {
      const replica = await replicaIn(store(), id, node.id);
      return [replica.state, replica.generation, replica.missedGeneration, replica.reason];
    };
    assert.deepEqual(await state(fine), ["READY", 1, -1, ""]);
    assert.deepEqual(await state(missing), ["STALE", -1, -1, "missing on disk"]);
    assert.deepEqual(await state(older), ["STALE", 0, 1, "older on disk than confirmed"]);
    assert.deepEqual(await state(ahead), ["QUARANTINED", 1, -1, "ahead of the metadata store: generation 2 on disk"]);
    assert.deepEqual(await state(quarantined), ["QUARANTINED", 0, -1, "disagrees"]);
    assert.deepEqual(await state(waiting), ["STALE", 0, -1, "was away"]);
    const unhealthy = (await store().listUnhealthy("", 10_000)).map(({ repository }) => repository.id);
    for (const id of [missing, older]) assert.ok(unhealthy.includes(id));
    assert.ok(!unhealthy.includes(fine));
    const again = await store().registerNode({ ...node, bootId: "boot-3", inventory, nowMs: 31_000 });
    assert.equal(again.kind, "registered");
    assert.deepEqual(again.staleRepositoryIds, []);
  });

  void test("a new identity at a known URL is refused while the old one lives, then inherits its replicas", async () => {
    const old = registrationOf();
    await store().registerNode(old);
    const { id } = await repositoryIn(store(), {
      placements: [
        { nodeId: old.id, created: true },
        { nodeId: "n2", created: true },
      ],
      replicasWanted: 2,
    });
    await committed(
      store(),
      commitOf(id, [change("refs/heads/a", undefined, oid(1))], { stagedNodeIds: [old.id, "n2"] }),
    );
    const heir = registrationOf({ url: old.url, nowMs: 14_999, inventory: [{ repositoryId: id, generation: 1 }] });
    assert.deepEqual(await store().registerNode(heir), { kind: "conflict", otherId: old.id });
    const outcome = await store().registerNode({ ...heir, nowMs: 15_000 });
    assert.deepEqual(outcome, { kind: "registered", ...nothing, staleRepositoryIds: [id] });
    const replicas = (await store().getRepository(id))?.replicas;
    assert.deepEqual(
      replicas?.map((replica) => [
        replica.nodeId,
        replica.state,
        replica.generation,
        replica.missedGeneration,
        replica.reason,
      ]),
      [
        [heir.id, "STALE", -1, 1, "disk replaced"],
        ["n2", "READY", 0, -1, ""],
      ],
    );
    const nodes = (await store().listNodes()).filter(({ url }) => url === old.url);
    assert.deepEqual(
      nodes.map((node) => node.id),
      [heir.id],
    );
    assert.equal(await store().recordHeartbeat({ ...heir, sizes: [], nowMs: 16_000 }), true);
    assert.equal(await store().recordHeartbeat({ ...old, sizes: [], nowMs: 16_000 }), false);
  });

  void test("a known node may move to a URL only if nobody alive has it", async () => {
    const one = registrationOf();
    const other = registrationOf();
    await store().registerNode(one);
    await store().registerNode(other);
    const shared = (
      await repositoryIn(store(), {
        placements: [one, other].map(({ id }) => ({ nodeId: id, created: true })),
        replicasWanted: 2,
      })
    ).id;
    const moving = { ...one, url: other.url, bootId: "boot-2", inventory: [{ repositoryId: shared, generation: 0 }] };
    assert.deepEqual(await store().registerNode({ ...moving, nowMs: 12_000 }), { kind: "conflict", otherId: other.id });
    assert.deepEqual(await store().registerNode({ ...moving, nowMs: 20_000 }), { kind: "registered", ...nothing });
    const replicas = (await store().getRepository(shared))?.replicas;
    assert.deepEqual(
      replicas?.map(({ nodeId, state }) => [nodeId, state]),
      [
        [one.id, "READY"],
        [other.id, "READY"],
      ],
      "the other may come back elsewhere, with what it has",
    );
    const back = { ...other, url: one.url, bootId: "boot-2", inventory: moving.inventory, nowMs: 21_000 };
    assert.deepEqual(await store().registerNode(back), { kind: "registered", ...nothing });
  });

  void test("a copied directory: one that runs elsewhere is not replaced by its double while it lives", async () => {
    const node = registrationOf();
    await store().registerNode(node);
    const double = { ...node, url: `http://${uuid()}`, bootId: "boot-of-the-double" };
    assert.deepEqual(await store().registerNode({ ...double, nowMs: node.nowMs + 4999 }), {
      kind: "conflict",
      otherId: node.id,
    });
    assert.equal((await store().listNodes()).find(({ id }) => id === node.id)?.url, node.url);
    assert.equal((await store().registerNode({ ...double, nowMs: node.nowMs + 5000 })).kind, "registered");
  });

  void test("a heartbeat in time to come, of a clock that was wrong, holds nobody up", async () => {
    const node = registrationOf({ nowMs: 86_400_000 });
    await store().registerNode(node);
    const heir = registrationOf({ url: node.url, nowMs: 10_000 });
    assert.equal((await store().registerNode(heir)).kind, "registered");
  });

  void test("takes an inventory of thousands", async () => {
    const inventory = Array.from({ length: 5000 }, (_, generation) => ({ repositoryId: uuid(), generation }));
    const outcome = await store().registerNode(registrationOf({ inventory }));
    assert.equal(outcome.kind, "registered");
    assert.deepEqual(
      outcome.orphanRepositoryIds,
      inventory.map(({ repositoryId }) => repositoryId),
    );
  });

  // Two stores on one database: not to be had in memory.
  if (factory.openFresh !== undefined)
    void test("two nodes that register one URL at once: one of them is told", async () => {
      const url = `http://${uuid()}`;
      const outcomes = await Promise.all([1, 2].map(() => store().registerNode(registrationOf({ url }))));
      assert.deepEqual(outcomes.map(({ kind }) => kind).toSorted(), ["conflict", "registered"]);
    });

  void test("heartbeats bring disk use and sizes, from a known start only", async () => {
    const node = registrationOf();
    await store().registerNode(node);
    const placements = [
      { nodeId: node.id, created: true },
      { nodeId: "n2", created: true },
    ];
    const ids = [(await repositoryIn(store(), { placements })).id, (await repositoryIn(store(), { placements })).id];
    const sizes = [
      ...ids.map((repositoryId, index) => ({ repositoryId, sizeBytes: 6_000_000_000_000 + index })),
      { repositoryId: uuid(), sizeBytes: 3 },
    ];
    assert.equal(
      await store().recordHeartbeat({ ...node, nowMs: 11_000, diskUsage: 0.75, diskFreeBytes: 7, sizes }),
      true,
    );
    const record = (await store().listNodes()).find(({ id }) => id === node.id);
    assert.deepEqual([record?.heartbeatMs, record?.diskUsage, record?.diskFreeBytes], [11_000, 0.75, 7]);
    for (const [index, id] of ids.entries()) {
      assert.equal((await replicaIn(store(), id, node.id)).sizeBytes, 6_000_000_000_000 + index);
      assert.equal((await replicaIn(store(), id, "n2")).sizeBytes, 0);
    }
    assert.equal(await store().recordHeartbeat({ ...node, bootId: "boot-0", sizes: [] }), false);
    assert.equal(await store().recordHeartbeat({ ...node, id: uuid(), sizes: [] }), false);
  });

  void test("removes a node with its replicas", async () => {
    const node = registrationOf();
    await store().registerNode(node);
    const placements = [{ nodeId: node.id, created: true }];
    const { id, name } = await repositoryIn(store(), { placements, replicasWanted: 1 });
    const before = await store().countRepositories();
    assert.deepEqual(await store().removeNode(node.id, { force: false }), [name]);
    assert.deepEqual(await store().removeNode(node.id, { force: true }), [name], "its last READY replica");
    await store().markStale(id, [node.id], "lost", 1);
    assert.deepEqual(await store().removeNode(node.id, { force: true }), []);
    assert.deepEqual((await store().getRepository(id))?.replicas, []);
    assert.equal((await store().countRepositories()).degraded, before.degraded + 1);
    assert.ok((await store().listNodes()).every((each) => each.id !== node.id));
    await rejectsWith(store().removeNode(node.id, { force: true }), "node-not-found");
  });

  void test("one holder at a time has the lease, and the fencing number grows with each change", async () => {
    const name = uuid();
    const first = { holder: "one", fencing: 1, expiresMs: 6000 };
    assert.deepEqual(await store().acquireLease(name, "one", 5000, 1000), first);
    // Whatever the clock of the other one says.
    assert.deepEqual(await store().acquireLease(name, "two", 5000, 90_000), first);
    const renewed = { holder: "one", fencing: 1, expiresMs: 8000 };
    assert.deepEqual(await store().acquireLease(name, "one", 5000, 3000), renewed);
    assert.deepEqual(await store().acquireLease(name, "two", 5000, 3000, first), renewed, "it was renewed since");
    const taken = { holder: "two", fencing: 2, expiresMs: 7000 };
    assert.deepEqual(await store().acquireLease(name, "two", 5000, 2000, renewed), taken);
    await store().releaseLease(name, "one");
    assert.deepEqual(await store().acquireLease(name, "one", 5000, 9000), taken);
    await store().releaseLease(name, "two");
    assert.deepEqual(await store().acquireLease(name, "one", 5000, 9000), {
      holder: "one",
      fencing: 3,
      expiresMs: 14_000,
    });
  });

  void test("of many that want a lease at once one gets it", async () => {
    for (let round = 0; round < 3; round++) {
      const name = uuid();
      const leases = await Promise.all(
        ["a", "b", "c", "d"].map((holder) => store().acquireLease(name, holder, 5000, 1000)),
      );
      const [lease] = leases;
      assert.deepEqual(leases, [lease, lease, lease, lease], "all are told the same holder");
    }
  });
}
