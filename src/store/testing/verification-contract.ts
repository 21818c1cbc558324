/** The contract of verification: who is next, what damage does. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { v7 as uuid } from "uuid";
import type { Store } from "../store.ts";
import { verificationAsked } from "../verification.ts";
import { change, commitOf, committed, oid, registrationOf, repositoryIn, replicaIn, copyIn } from "./fixtures.ts";

const byScrub = { byHand: false };
const byHand = { byHand: true };
/** Whatever was verified at this time or later counts. */
const until = (sinceMs: number) => ({ sinceMs, nowMs: 10_000_000 });

export function verificationContract(store: () => Store): void {
  /** A READY replica on a node of its own, verified at its creation. */
  async function replicasOn(nodeId: string, count: number): Promise<string[]> {
    const ids: string[] = [];
    for (let index = 0; index < count; index += 1) {
      const placements = [nodeId, "n2", "n3"].map((node) => ({ nodeId: node, created: true }));
      ids.push((await repositoryIn(store(), { placements, createdMs: 1000 + index })).id);
    }
    return ids;
  }

  void test("the one verified the longest ago is next, if that was long enough ago", async () => {
    const node = uuid();
    const [first = "", second = ""] = await replicasOn(node, 2);
    assert.equal(await store().nextToVerify(node, until(1000), []), undefined);
    assert.deepEqual(await store().nextToVerify(node, until(5000), []), { repositoryId: first, verifiedMs: 1000 });
    assert.deepEqual(await store().nextToVerify(node, until(5000), [first]), {
      repositoryId: second,
      verifiedMs: 1001,
    });
    await store().recordVerified(await copyIn(store(), first, node), 6000);
    assert.equal((await replicaIn(store(), first, node)).verifiedMs, 6000);
    assert.equal((await store().nextToVerify(node, until(5000), []))?.repositoryId, second);
    await store().markStale(second, [node], "away", 1);
    assert.equal(await store().nextToVerify(node, until(5000), []), undefined, "only READY ones");
  });

  void test("one that is asked for is first, one that was verified lately is not asked for on suspicion", async () => {
    const node = uuid();
    const [first = "", second = ""] = await replicasOn(node, 2);
    await store().requestVerification(node, [first, second], until(1001));
    assert.deepEqual(await store().nextToVerify(node, until(9000), []), {
      repositoryId: first,
      verifiedMs: verificationAsked,
    });
    assert.equal((await replicaIn(store(), second, node)).verifiedMs, 1001);
    assert.equal((await replicaIn(store(), first, "n2")).verifiedMs, 1000, "of that node alone");
    await store().requestVerification(node, [], undefined);
  });

  void test("one that was never verified waits for those whose turn came before it was READY", async () => {
    const node = uuid();
    const [first = "", second = "", third = ""] = await replicasOn(node, 3);
    // Filled anew, and READY since 3000.
    await store().markDamaged(await copyIn(store(), third, node), "damaged: rot", 2000, byScrub);
    await store().recordMovedAside(await copyIn(store(), third, node), 2000);
    await store().beginCatchUp(third, node, 2500);
    assert.equal(await store().promoteReplica(await copyIn(store(), third, node), 0, 3000), true);
    assert.equal((await replicaIn(store(), third, node)).verifiedMs, -1);
    const next = async (): Promise<string | undefined> =>
      (await store().nextToVerify(node, { sinceMs: 6500, nowMs: 9000 }, []))?.repositoryId;
    assert.equal(await next(), first);
    await store().recordVerified(await copyIn(store(), first, node), 6000);
    assert.equal(await next(), second);
    await store().recordVerified(await copyIn(store(), second, node), 6001);
    assert.equal(await next(), third);
    await store().recordVerified(await copyIn(store(), third, node), 7000);
    assert.equal(await next(), first);
  });

  void test("a heartbeat brings suspects", async () => {
    const node = registrationOf();
    await store().registerNode(node);
    const [id = ""] = await replicasOn(node.id, 1);
    const suspects = { repositoryIds: [id], verified: until(5000) };
    assert.equal(await store().recordHeartbeat({ ...node, sizes: [], suspects }), true);
    assert.equal((await replicaIn(store(), id, node.id)).verifiedMs, verificationAsked);
  });

  void test("a damaged one is STALE with nothing, until its copy is out of the way and it is filled", async () => {
    const { id } = await repositoryIn(store());
    await committed(store(), commitOf(id, [change("refs/heads/x", undefined, oid(1))]));
    assert.equal(await store().markDamaged(await copyIn(store(), id, "n1"), "damaged: rot", 70, byScrub), "marked");
    const damaged = await replicaIn(store(), id, "n1");
    assert.deepEqual(
      [
        damaged.state,
        damaged.damaged,
        damaged.generation,
        damaged.missedGeneration,
        damaged.reason,
        damaged.verifiedMs,
      ],
      ["STALE", true, -1, 1, "damaged: rot", -1],
    );
    await store().recordMovedAside(await copyIn(store(), id, "n1"), 70);
    assert.equal((await replicaIn(store(), id, "n1")).damaged, false);
    assert.equal((await replicaIn(store(), id, "n1")).reason, "damaged: rot");
    assert.equal(await store().beginCatchUp(id, "n1", 71), true);
    assert.equal((await replicaIn(store(), id, "n1")).reason, "damaged: rot", "why is still to be seen");
    assert.equal(await store().promoteReplica(await copyIn(store(), id, "n1"), 0, 72), false, "it missed generation 1");
    assert.equal(await store().promoteReplica(await copyIn(store(), id, "n1"), 1, 72), true);
    const healed = await replicaIn(store(), id, "n1");
    assert.deepEqual([healed.state, healed.damaged, healed.reason], ["READY", false, ""]);
  });

  void test("the last READY one stays so, counts as degraded, and is well again when it is verified", async () => {
    const { id, name } = await repositoryIn(store());
    await store().markStale(id, ["n2", "n3"], "away", 60);
    assert.equal(
      await store().markDamaged(await copyIn(store(), id, "n1"), "to be filled anew", 70, byHand),
      "only-copy",
    );
    assert.equal((await replicaIn(store(), id, "n1")).reason, "");
    const lone = await repositoryIn(store(), { replicasWanted: 1, placements: [{ nodeId: "n1", created: true }] });
    assert.equal(
      await store().markDamaged(await copyIn(store(), lone.id, "n1"), "damaged: rot", 70, byScrub),
      "only-copy",
    );
    const replica = await replicaIn(store(), lone.id, "n1");
    assert.deepEqual([replica.state, replica.reason, replica.damaged], ["READY", "damaged: rot", false]);
    const isDegraded = async (): Promise<boolean> =>
      (await store().listRepositories({ contains: lone.name, state: "degraded", limit: 2 })).items.length === 1;
    assert.ok(await isDegraded());
    await store().recordVerified(await copyIn(store(), lone.id, "n1"), 80);
    assert.equal((await replicaIn(store(), lone.id, "n1")).reason, "");
    assert.ok(!(await isDegraded()));
    assert.ok(name !== lone.name);
  });

  void test("what was staged in a copy that was moved aside is not in the one that took its place", async () => {
    const { id } = await repositoryIn(store());
    const found = await store().getRepository(id);
    const copies = new Map((found?.replicas ?? []).map(({ nodeId, copyNumber }) => [nodeId, copyNumber]));
    for (const nodeId of ["n1", "n2"]) {
      await store().markDamaged(await copyIn(store(), id, nodeId), "damaged: rot", 70, byScrub);
      await store().recordMovedAside(await copyIn(store(), id, nodeId), 71);
      await store().beginCatchUp(id, nodeId, 72);
    }
    assert.equal(await store().promoteReplica(await copyIn(store(), id, "n1"), 0, 73), true);
    const push = commitOf(id, [change("refs/heads/x", undefined, oid(1))], { copies, writeQuorum: 1 });
    const outcome = await committed(store(), push);
    assert.deepEqual([outcome.applyNodeIds, outcome.staleNodeIds], [["n3"], ["n1"]]);
    assert.equal(await store().promoteReplica(await copyIn(store(), id, "n2"), 0, 74), false, "it missed the push");
  });

  void test("what is found out about a copy says nothing of the one that took its place", async () => {
    const { id } = await repositoryIn(store());
    await committed(
      store(),
      commitOf(id, [change("refs/heads/x", undefined, oid(1))], { stagedNodeIds: ["n2", "n3"] }),
    );
    const earlier = await copyIn(store(), id, "n1");
    await store().beginCatchUp(id, "n1", 70);
    // One controller has filled it and stands still; another finds the copy rotten and begins anew.
    await store().markDamaged(earlier, "damaged: rot", 71, byScrub);
    await store().recordMovedAside(earlier, 72);
    await store().beginCatchUp(id, "n1", 73);
    assert.equal(await store().promoteReplica(earlier, 1, 74), false);
    assert.equal((await replicaIn(store(), id, "n1")).state, "PREPARING");
    assert.equal(await store().promoteReplica(await copyIn(store(), id, "n1"), 1, 75), true);
    await store().recordVerified(earlier, 80);
    assert.equal((await replicaIn(store(), id, "n1")).verifiedMs, -1);
    assert.equal(await store().markDamaged(earlier, "damaged: rot", 81, byScrub), "gone");
    await store().recordMovedAside(earlier, 82);
    assert.equal((await replicaIn(store(), id, "n1")).state, "READY");
  });

  void test("a verification in time to come, by a clock that was wrong, counts as none", async () => {
    const node = uuid();
    const [id = ""] = await replicasOn(node, 1);
    await store().recordVerified(await copyIn(store(), id, node), 20_000_000);
    assert.equal((await store().nextToVerify(node, until(5000), []))?.repositoryId, id);
    await store().requestVerification(node, [id], until(5000));
    assert.equal((await replicaIn(store(), id, node)).verifiedMs, verificationAsked);
  });

  void test("one that is known to be damaged is no reason to give up another", async () => {
    const { id } = await repositoryIn(store(), {
      placements: ["n1", "n2"].map((nodeId) => ({ nodeId, created: true })),
    });
    await store().markStale(id, ["n2"], "away", 1);
    assert.equal(await store().markDamaged(await copyIn(store(), id, "n1"), "damaged: rot", 70, byScrub), "only-copy");
    assert.equal((await replicaIn(store(), id, "n1")).verifiedMs, -1);
    assert.equal(await store().removeReplica(id, "n2", 1), false);
    await store().beginCatchUp(id, "n2", 71);
    assert.equal(await store().promoteReplica(await copyIn(store(), id, "n2"), 0, 72), true);
    assert.equal(await store().markDamaged(await copyIn(store(), id, "n2"), "damaged: rot", 73, byScrub), "only-copy");
    assert.equal(await store().markDamaged(await copyIn(store(), id, "n1"), "damaged: rot", 74, byScrub), "only-copy");
  });

  void test("a QUARANTINED one is a person's affair", async () => {
    const { id } = await repositoryIn(store());
    await store().quarantineReplica(id, "n1", "disagrees", 50);
    assert.equal(await store().markDamaged(await copyIn(store(), id, "n1"), "damaged: rot", 70, byScrub), "gone");
    assert.equal((await replicaIn(store(), id, "n1")).state, "QUARANTINED");
    assert.equal(await store().markDamaged(await copyIn(store(), id, "n1"), "to be filled anew", 70, byHand), "marked");
    assert.equal(await store().markDamaged(await copyIn(store(), id, "none"), "damaged", 70, byHand), "gone");
    assert.equal(await store().markDamaged(await copyIn(store(), uuid(), "n1"), "damaged", 70, byHand), "gone");
  });

  void test("one whose copy was moved aside has nothing, whatever it was", async () => {
    const { id } = await repositoryIn(store());
    await committed(store(), commitOf(id, [change("refs/heads/x", undefined, oid(1))]));
    await store().quarantineReplica(id, "n2", "disagrees", 50);
    for (const nodeId of ["n1", "n2", "none"]) await store().recordMovedAside(await copyIn(store(), id, nodeId), 70);
    await store().recordMovedAside(await copyIn(store(), uuid(), "n1"), 70);
    const moved = await replicaIn(store(), id, "n1");
    assert.deepEqual([moved.state, moved.generation, moved.missedGeneration], ["STALE", -1, 1]);
    assert.equal((await replicaIn(store(), id, "n2")).state, "QUARANTINED");
  });

  void test("progress counts complete replicas", async () => {
    const before = await store().verificationProgress(until(2_000_000));
    const { id } = await repositoryIn(store(), { createdMs: 1_000_000 });
    await store().recordVerified(await copyIn(store(), id, "n1"), 2_000_000);
    const after = await store().verificationProgress(until(2_000_000));
    assert.deepEqual([after.ready - before.ready, after.verified - before.verified], [3, 1]);
  });

  void test("says who holds the lease", async () => {
    const name = uuid();
    assert.equal(await store().leaseHolder(name, 0), undefined);
    await store().acquireLease(name, "one", 100, 1000);
    assert.equal(await store().leaseHolder(name, 1050), "one");
    assert.equal(await store().leaseHolder(name, 1100), undefined);
    await store().releaseLease(name, "one");
    assert.equal(await store().leaseHolder(name, 1050), undefined);
  });
}
