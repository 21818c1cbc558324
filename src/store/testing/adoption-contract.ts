/** The contract of a store that has lost something: noticed, nothing committed on top, refs taken over. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { v7 as uuid } from "uuid";
import type { RefAdoption, Store } from "../store.ts";
import {
  branch,
  change,
  commitOf,
  committed,
  newRepository,
  oid,
  registrationOf,
  rejectsWith,
  copyIn,
  replicaIn,
  repositoryIn,
} from "./fixtures.ts";

const topic = "refs/heads/topic";

function adoptionOf(repositoryId: string, more: Partial<RefAdoption> = {}): RefAdoption {
  return {
    repositoryId,
    adoptionId: uuid(),
    expectedGeneration: 1,
    expectedAheadGeneration: 7,
    create: { name: `r-${repositoryId}`, objectFormat: "sha1", defaultBranch: branch, replicasWanted: 3 },
    generation: 1007,
    changes: [change(branch, oid(1), oid(7)), change(topic, undefined, oid(8))],
    nodeIds: ["n1", "n2", "n3"],
    refillNodeIds: [],
    nowMs: 9000,
    ...more,
  };
}

export function adoptionContract(store: () => Store): void {
  /** At generation 1 in the store. */
  async function pushedOnce(): Promise<string> {
    const { id } = await repositoryIn(store());
    await committed(store(), commitOf(id, [change(branch, undefined, oid(1))]));
    return id;
  }

  void test("a replica that is ahead is kept for a person, and nothing is committed any more", async () => {
    const id = await pushedOnce();
    assert.equal(await store().noteAhead(id, "n2", 1, 5000), false, "at the store's generation");
    assert.equal((await replicaIn(store(), id, "n2")).state, "READY");
    assert.equal(await store().noteAhead(id, "n2", 7, 5000), true);
    assert.equal((await replicaIn(store(), id, "n2")).state, "QUARANTINED");
    assert.equal((await store().getRepository(id))?.repository.aheadGeneration, 7);
    assert.equal(await store().noteAhead(id, "n3", 6, 5000), true);
    assert.equal((await store().getRepository(id))?.repository.aheadGeneration, 7, "the latest");
    const refused = await store().commitRefs(commitOf(id, [change(branch, oid(1), oid(2))]));
    assert.deepEqual(refused, { kind: "store-behind", generation: 1, seenGeneration: 7 });
    assert.deepEqual(
      (await store().readRefs(id)).refs.map((ref) => ref.oid),
      [oid(1)],
    );
    assert.ok((await store().listBehind()).some(({ repository }) => repository.id === id));
  });

  void test("a commit that saw a later generation on a replica writes nothing, and neither does the next", async () => {
    const id = await pushedOnce();
    const at = { seenGeneration: 1 };
    await committed(store(), commitOf(id, [change(branch, oid(1), oid(2))], at));
    const seen = await store().commitRefs(commitOf(id, [change(branch, oid(2), oid(3))], { seenGeneration: 4 }));
    assert.deepEqual(seen, { kind: "store-behind", generation: 2, seenGeneration: 4 });
    const next = await store().commitRefs(commitOf(id, [change(branch, oid(2), oid(3))]));
    assert.equal(next.kind, "store-behind");
    assert.equal((await store().readRefs(id)).generation, 2);
  });

  void test("a registering node tells of everything that it has ahead, placed there or not", async () => {
    const placed = await pushedOnce();
    const elsewhere = await pushedOnce();
    const same = await pushedOnce();
    const node = registrationOf();
    await store().registerNode(node);
    await store().addReplica(placed, node.id, "", 1);
    const inventory = [
      { repositoryId: placed, generation: 3 },
      { repositoryId: elsewhere, generation: 2 },
      { repositoryId: same, generation: 1 },
    ];
    const outcome = await store().registerNode({ ...node, bootId: "boot-2", inventory });
    assert.equal(outcome.kind, "registered");
    assert.ok(outcome.kind === "registered");
    assert.deepEqual([...outcome.aheadRepositoryIds].toSorted(), [placed, elsewhere].toSorted());
    assert.equal((await replicaIn(store(), placed, node.id)).state, "QUARANTINED");
    assert.equal((await store().getRepository(elsewhere))?.repository.aheadGeneration, 2);
    assert.equal((await store().getRepository(same))?.repository.aheadGeneration, -1);
  });

  void test("a node that was told of a later heartbeat than the store has is to register again", async () => {
    const node = registrationOf({ nowMs: 10_000 });
    await store().registerNode(node);
    const beat = { id: node.id, bootId: node.bootId, diskUsage: 0.1, diskFreeBytes: 1, sizes: [] };
    assert.equal(await store().recordHeartbeat({ ...beat, nowMs: 11_000, lastHeartbeatMs: 10_000 }), true);
    assert.equal(await store().recordHeartbeat({ ...beat, nowMs: 11_500, lastHeartbeatMs: 11_000 }), true);
    assert.equal(await store().recordHeartbeat({ ...beat, nowMs: 12_000, lastHeartbeatMs: 11_800 }), false);
  });

  void test("adopting takes the refs over, above every generation; all replicas have to prove themselves", async () => {
    const id = await pushedOnce();
    await store().noteAhead(id, "n2", 7, 5000);
    assert.equal(await store().adoptRepository(adoptionOf(id, { nodeIds: ["n2", "n9"], refillNodeIds: ["n3"] })), true);
    const found = await store().getRepository(id);
    assert.deepEqual([found?.repository.generation, found?.repository.aheadGeneration], [1007, -1]);
    assert.deepEqual(
      (await store().readRefs(id)).refs.map(({ name, oid: value }) => [name, value]),
      [
        [branch, oid(7)],
        [topic, oid(8)],
      ],
    );
    assert.deepEqual(
      found?.replicas.filter(({ damaged }) => damaged).map(({ nodeId }) => nodeId),
      ["n3"],
    );
    assert.deepEqual(
      found?.replicas.map(({ nodeId, state, missedGeneration }) => [nodeId, state, missedGeneration]),
      ["n1", "n2", "n3", "n9"].map((nodeId) => [nodeId, "STALE", 1007]),
    );
    assert.deepEqual(
      (await store().readRefLog(id, 1, 10)).map(({ generation }) => generation),
      [1007],
    );
    for (const nodeId of ["n1", "n2"]) {
      assert.equal(await store().beginCatchUp(id, nodeId, 1), true);
      assert.equal(await store().promoteReplica(await copyIn(store(), id, nodeId), 1006, 1), false);
      assert.equal(await store().promoteReplica(await copyIn(store(), id, nodeId), 1007, 1), true);
    }
    const next = await committed(store(), commitOf(id, [change(branch, oid(7), oid(9))], { seenGeneration: 1007 }));
    assert.equal(next.generation, 1008);
  });

  void test("adopting is refused when the repository has changed, and when a person deleted it", async () => {
    const id = await pushedOnce();
    assert.equal(await store().adoptRepository(adoptionOf(id, { expectedGeneration: 0 })), false);
    assert.equal(await store().adoptRepository(adoptionOf(id, { expectedGeneration: undefined })), false);
    assert.equal((await store().readRefs(id)).generation, 1);
    await store().deleteRepository(id, 1);
    assert.equal(await store().adoptRepository(adoptionOf(id, { expectedGeneration: undefined })), false);
    assert.equal(await store().getRepository(id), undefined);
  });

  void test("a repository that only nodes know is made; a taken name is refused", async () => {
    const { id, name } = newRepository();
    const deleted = await pushedOnce();
    await store().deleteRepository(deleted, 1);
    assert.deepEqual(await store().unknownRepositories([id, deleted]), [id]);
    const changes = [change(branch, undefined, oid(7))];
    const create = { name, objectFormat: "sha256", defaultBranch: topic, replicasWanted: 2 } as const;
    const adoption = adoptionOf(id, { expectedGeneration: undefined, changes, create, nodeIds: ["n4", "n5"] });
    assert.equal(await store().adoptRepository(adoption), true);
    const found = await store().findRepository(name);
    assert.equal(found?.repository.id, id);
    assert.deepEqual(
      [found?.repository.objectFormat, found?.repository.defaultBranch, found?.repository.generation],
      ["sha256", topic, 1007],
    );
    assert.deepEqual(
      found?.replicas.map(({ nodeId, state }) => `${nodeId} ${state}`),
      ["n4 STALE", "n5 STALE"],
    );
    await rejectsWith(
      store().adoptRepository(adoptionOf(newRepository().id, { expectedGeneration: undefined, changes, create })),
      "repository-exists",
    );
  });
}
