/** The contract of moves: replicas that are to leave their node. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { v7 as uuid } from "uuid";
import type { LeavingPosition } from "../moves.ts";
import type { Store } from "../store.ts";
import { eventKindsIn, registrationOf, rejectsWith, replicaIn, repositoryIn } from "./fixtures.ts";

export function movesContract(store: () => Store): void {
  void test("a replica that is to move: listed until it is gone", async () => {
    const { id } = await repositoryIn(store());
    const target = registrationOf();
    await store().registerNode(target);
    const leaving = async (): Promise<string[]> =>
      (await store().listLeaving(1000)).filter(({ repositoryId }) => repositoryId === id).map(({ nodeId }) => nodeId);
    assert.equal(await store().moveReplica(id, "none", target.id, 1), false);
    assert.equal(await store().moveReplica(id, "n1", target.id, 1), true);
    assert.equal((await replicaIn(store(), id, target.id)).state, "STALE");
    assert.equal(await store().moveReplica(id, "n1", target.id, 1), false, "it is there already");
    assert.equal(await store().moveReplica(id, "n1", undefined, 1), true);
    assert.deepEqual(await leaving(), ["n1"]);
    await rejectsWith(store().moveReplica(id, "n2", uuid(), 1), "node-not-found");
    assert.equal(await store().cancelMove(id, "n2"), false);
    assert.equal(await store().cancelMove(id, "n1"), true);
    assert.deepEqual(await leaving(), []);
    assert.equal(await store().moveReplica(id, "n1", undefined, 1), true);
    assert.equal(await store().removeReplica(id, "n1", 2), true);
    assert.deepEqual(await leaving(), []);
    assert.deepEqual(await eventKindsIn(store(), id), [
      "repository-created",
      "replica-added",
      "replica-moving",
      "replica-moving",
      "replica-moving",
      "replica-moving",
      "replica-removed",
    ]);
    assert.equal(await store().moveReplica(id, "n2", undefined, 1), true);
    await store().deleteRepository(id, 1);
    assert.deepEqual(await leaving(), []);
  });

  void test("replicas that are to move by page, and of some repositories", async () => {
    const ids = [(await repositoryIn(store())).id, (await repositoryIn(store())).id].toSorted();
    const [first = "", second = ""] = ids;
    for (const [id, nodeId] of [
      [second, "n1"],
      [first, "n2"],
      [first, "n1"],
    ] as const)
      await store().moveReplica(id, nodeId, undefined, 7);
    const found: string[] = [];
    for (let after: LeavingPosition | undefined; ;) {
      const page = await store().listLeaving(2, after);
      found.push(...page.map(({ repositoryId, nodeId }) => `${ids.indexOf(repositoryId)} ${nodeId}`));
      after = page.at(-1);
      if (page.length < 2) break;
    }
    assert.deepEqual(
      found.filter((text) => !text.startsWith("-1")),
      ["0 n1", "0 n2", "1 n1"],
    );
    assert.deepEqual(await store().leavingOf([second, uuid()]), [{ repositoryId: second, nodeId: "n1", sinceMs: 7 }]);
    assert.deepEqual(await store().leavingOf([]), []);
    for (const id of ids) await store().deleteRepository(id, 1);
  });
}
