/** The contract of refs: commits and what they leave. Races are in ref-race-contract.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { v7 as uuid } from "uuid";
import { refNameFromBytes, refNameFromText } from "../../protocol/ref-name.ts";
import type { RefChange, RequestedChange, Store } from "../store.ts";
import { change, commitOf, committed, oid, rejectsWith, replicaIn, repositoryIn } from "./fixtures.ts";

const topic = "refs/heads/topic";

export function refContract(store: () => Store): void {
  void test("creates, updates and deletes refs, one generation a push", async () => {
    const { id } = await repositoryIn(store());
    assert.deepEqual(await store().readRefs(id), { generation: 0, refs: [] });
    const tag = change("refs/tags/v1", undefined, oid(2), { peeled: oid(1) });
    const first = await committed(
      store(),
      commitOf(id, [change(topic, undefined, oid(1)), tag], { committedMs: 7000 }),
    );
    assert.equal(first.generation, 1);
    assert.deepEqual(first.results, [
      { name: topic, refusal: undefined },
      { name: "refs/tags/v1", refusal: undefined },
    ]);
    assert.deepEqual(first.changes, [
      written(topic, undefined, oid(1)),
      { ...written("refs/tags/v1", undefined, oid(2)), peeled: oid(1) },
    ]);
    assert.deepEqual(first.applyNodeIds, ["n1", "n2", "n3"]);
    assert.deepEqual(first.staleNodeIds, []);
    assert.deepEqual(await store().readRefs(id), {
      generation: 1,
      refs: [
        { name: topic, oid: oid(1), peeled: undefined },
        { name: "refs/tags/v1", oid: oid(2), peeled: oid(1) },
      ],
    });
    assert.equal((await store().getRepository(id))?.repository.pushedMs, 7000);
    const moved = [change("refs/tags/v1", oid(2), oid(3)), change(topic, oid(1), undefined)];
    assert.equal((await committed(store(), commitOf(id, moved))).generation, 2);
    const { generation, refs } = await store().readRefs(id);
    assert.equal(generation, 2);
    assert.deepEqual(refs, [{ name: "refs/tags/v1", oid: oid(3), peeled: undefined }]);
  });

  void test("ref names are bytes, in bytewise order", async () => {
    const { id } = await repositoryIn(store());
    const names = [
      refNameFromText("refs/heads/é".normalize("NFC")),
      refNameFromText("refs/heads/é".normalize("NFD")),
      refNameFromBytes(Buffer.from([...Buffer.from("refs/heads/"), 0xff, 0xfe])),
      refNameFromBytes(Buffer.from([...Buffer.from("refs/heads/"), 0xe9])),
      "refs/heads/e",
      "refs/heads/E",
      "refs/heads/e'\"\\%_",
      `refs/heads/${"x".repeat(255)}/${"y".repeat(255)}/${"z".repeat(255)}/${"w".repeat(200)}`,
    ];
    const changes = names.map((name, index) => change(name, undefined, oid(index + 1)));
    await committed(store(), commitOf(id, changes));
    const { refs } = await store().readRefs(id);
    assert.deepEqual(
      refs.map(({ name }) => name),
      names.toSorted((a, b) => Buffer.compare(Buffer.from(a, "latin1"), Buffer.from(b, "latin1"))),
    );
    for (const { name, oid: value } of refs) assert.equal(value, oid(names.indexOf(name) + 1));
    const [entry] = await store().readRefLog(id, 0, 10);
    assert.deepEqual(
      entry?.changes.map(({ name }) => name),
      names,
    );
    await committed(
      store(),
      commitOf(
        id,
        names.slice(0, 1).map((name) => change(name, oid(1), undefined)),
      ),
    );
    assert.equal((await store().readRefs(id)).refs.length, names.length - 1);
  });

  void test("refuses what the rules refuse, each by itself, or all with atomic", async () => {
    const { id } = await repositoryIn(store());
    await committed(
      store(),
      commitOf(id, [change(topic, undefined, oid(1)), change("refs/heads/d/e", undefined, oid(1))]),
    );
    const changes = [
      change(topic, oid(2), oid(3)),
      change("refs/heads/d", undefined, oid(1)),
      change("refs/heads/topic/x", undefined, oid(1)),
      change("refs/heads/new", undefined, oid(1)),
    ];
    const refusals = [
      `cannot lock ref: is at ${oid(1)} but expected ${oid(2)}`,
      "cannot lock ref: 'refs/heads/d/e' exists; cannot create 'refs/heads/d'",
      "cannot lock ref: 'refs/heads/topic' exists; cannot create 'refs/heads/topic/x'",
    ];
    const atomic = await store().commitRefs(commitOf(id, changes, { atomic: true }));
    assert.deepEqual(atomic, {
      kind: "refused",
      results: changes.map(({ name }, index) => ({ name, refusal: refusals[index] ?? "atomic push failure" })),
    });
    assert.equal((await store().readRefs(id)).generation, 1);
    const outcome = await committed(store(), commitOf(id, changes));
    assert.deepEqual(
      outcome.results.map(({ refusal }) => refusal),
      [...refusals, undefined],
    );
    assert.deepEqual(outcome.changes, [written("refs/heads/new", undefined, oid(1))]);
    assert.equal(outcome.generation, 2);
  });

  void test("enforces the repository's policy", async () => {
    const { id } = await repositoryIn(store());
    await committed(
      store(),
      commitOf(id, [change(topic, undefined, oid(1)), change("refs/heads/master", undefined, oid(1))]),
    );
    const refusal = async (asked: RequestedChange): Promise<string | undefined> => {
      const outcome = await store().commitRefs(commitOf(id, [asked]));
      assert.equal(outcome.kind, "refused");
      return outcome.results[0]?.refusal;
    };
    assert.equal(
      await refusal(change("refs/heads/master", oid(1), undefined)),
      "deletion of the current branch prohibited",
    );
    await store().updateRepository(id, { denyDeletes: true, denyNonFastForwards: true });
    assert.equal(await refusal(change(topic, oid(1), undefined)), "deletion prohibited");
    assert.equal(await refusal(change(topic, oid(1), oid(2), { fastForward: false })), "non-fast-forward");
    await committed(store(), commitOf(id, [change(topic, oid(1), oid(2), { fastForward: true })]));
  });

  void test("a push that changes nothing makes no generation and needs no quorum", async () => {
    const { id } = await repositoryIn(store());
    await committed(store(), commitOf(id, [change(topic, undefined, oid(1))]));
    const noops = [change(topic, oid(1), oid(1)), change("refs/heads/none", undefined, undefined)];
    const outcome = await committed(store(), commitOf(id, noops, { stagedNodeIds: [] }));
    assert.deepEqual(outcome, {
      kind: "committed",
      generation: 1,
      results: noops.map(({ name }) => ({ name, refusal: undefined })),
      changes: [],
      applyNodeIds: [],
      staleNodeIds: [],
    });
    assert.equal((await store().readRefLog(id, 0, 10)).length, 1);
    assert.equal((await replicaIn(store(), id, "n1")).state, "READY");
  });

  void test("a commit marks STALE what did not stage, and records what each replica missed", async () => {
    const placements = ["n1", "n2", "n3", "n4", "n5"].map((nodeId) => ({ nodeId, created: nodeId < "n4" }));
    const { id } = await repositoryIn(store(), { placements });
    await store().beginCatchUp(id, "n5", 3000);
    const staged = { stagedNodeIds: ["n1", "n2", "n5", "elsewhere"], committedMs: 4000 };
    const outcome = await committed(store(), commitOf(id, [change(topic, undefined, oid(1))], staged));
    assert.deepEqual(outcome.applyNodeIds, ["n1", "n2", "n5"]);
    assert.deepEqual(outcome.staleNodeIds, ["n3"]);
    const third = await replicaIn(store(), id, "n3");
    assert.equal(third.state, "STALE");
    assert.equal(third.reason, "missed generation 1");
    assert.equal(third.missedGeneration, 1);
    assert.equal(third.stateSinceMs, 4000);
    assert.equal((await replicaIn(store(), id, "n4")).missedGeneration, 1);
    assert.equal((await replicaIn(store(), id, "n5")).missedGeneration, -1);
    const one = await committed(
      store(),
      commitOf(id, [change(topic, oid(1), oid(2))], { stagedNodeIds: ["n1"], writeQuorum: 1 }),
    );
    assert.deepEqual(one.staleNodeIds, ["n2"]);
    assert.equal((await replicaIn(store(), id, "n5")).state, "PREPARING");
    assert.equal((await replicaIn(store(), id, "n5")).missedGeneration, 2);
    assert.equal((await replicaIn(store(), id, "n3")).missedGeneration, 2);
  });

  void test("without a quorum of staged READY replicas nothing is written", async () => {
    const { id } = await repositoryIn(store());
    await store().markStale(id, ["n2"], "test", 1);
    const commit = commitOf(id, [change(topic, undefined, oid(1))], { stagedNodeIds: ["n1", "n2"] });
    assert.deepEqual(await store().commitRefs(commit), { kind: "no-quorum", stagedReady: 1, needed: 2 });
    assert.deepEqual(await store().readRefs(id), { generation: 0, refs: [] });
    assert.equal((await replicaIn(store(), id, "n3")).state, "READY");
    const gone = await store().commitRefs(commitOf(uuid(), [change(topic, undefined, oid(1))]));
    assert.deepEqual(gone, { kind: "repository-gone" });
  });

  void test("a push that is committed already gets the same outcome again", async () => {
    const { id } = await repositoryIn(store());
    await committed(store(), commitOf(id, [change("refs/heads/a", undefined, oid(9))]));
    const changes = [
      change(topic, undefined, oid(1)),
      change("refs/heads/a", undefined, oid(1)),
      change("refs/x/no", undefined, undefined),
    ];
    const commit = commitOf(id, changes, { stagedNodeIds: ["n1", "n2"] });
    const first = await committed(store(), commit);
    await committed(store(), commitOf(id, [change(topic, oid(1), oid(2))], { stagedNodeIds: ["n1", "n2"] }));
    assert.deepEqual(await store().commitRefs(commit), first);
    assert.equal((await store().readRefs(id)).generation, 3);
    assert.deepEqual((await store().readRefLog(id, 1, 1))[0], {
      generation: 2,
      pushId: commit.pushId,
      committedMs: 2000,
      changes: [written(topic, undefined, oid(1))],
    });
  });

  void test("the ref log gives what comes after a generation, until it is trimmed", async () => {
    const { id } = await repositoryIn(store());
    for (let round = 0; round < 5; round++) {
      await committed(
        store(),
        commitOf(id, [change(topic, round === 0 ? undefined : oid(round), oid(round + 1))], {
          committedMs: 100 + round,
        }),
      );
    }
    const generations = async (after: number, limit: number): Promise<number[]> =>
      (await store().readRefLog(id, after, limit)).map(({ generation }) => generation);
    assert.deepEqual(await generations(0, 100), [1, 2, 3, 4, 5]);
    assert.deepEqual(await generations(2, 2), [3, 4]);
    assert.deepEqual(await generations(5, 100), []);
    const [last] = await store().readRefLog(id, 4, 1);
    assert.equal(last?.committedMs, 104);
    assert.deepEqual(last.changes, [written(topic, oid(4), oid(5))]);
    // Entries of 102 and later are too young.
    await store().trimRefLog(id, 4, 102);
    assert.deepEqual(await generations(-1, 100), [3, 4, 5]);
    await store().trimRefLog(id, 4, 1000);
    assert.deepEqual(await generations(-1, 100), [4, 5]);
    assert.equal((await store().readRefs(id)).generation, 5);
  });

  void test("a read of the ref log ends early where entries are large", async () => {
    const { id } = await repositoryIn(store());
    for (let push = 0; push < 3; push++) {
      const names = Array.from({ length: 5000 }, (_, index) => `refs/${push}/${index}/${"x".repeat(900)}`);
      const creates = names.map((name) => change(name, undefined, oid(1)));
      await committed(store(), commitOf(id, creates));
    }
    assert.equal((await store().readRefLog(id, 0, 10)).length, 2);
    assert.equal((await store().readRefLog(id, 2, 10)).length, 1);
  });

  void test("5,000 refs in one push are all there", async () => {
    const { id } = await repositoryIn(store());
    const names = Array.from({ length: 5000 }, (_, index) => `refs/changes/${index % 100}/${index}`);
    const creates = names.map((name, index) => change(name, undefined, oid(index + 1)));
    const outcome = await committed(store(), commitOf(id, creates, { atomic: true }));
    assert.equal(outcome.changes.length, 5000);
    const { refs } = await store().readRefs(id);
    assert.deepEqual(
      refs.map(({ name }) => name),
      names.toSorted(),
    );
    const [entry] = await store().readRefLog(id, 0, 1);
    assert.equal(entry?.changes.length, 5000);
    assert.deepEqual(entry.changes[4999], written(names[4999] ?? "", undefined, oid(5000)));
    // Each now has another in its way, but the last two directories are emptied by the same push.
    const conflicts = Array.from({ length: 100 }, (_, index) => change(`refs/changes/${index}`, undefined, oid(1)));
    const deletes = creates
      .filter((_, index) => index % 100 >= 98)
      .map(({ name, newOid }) => change(name, newOid, undefined));
    const mixed = await committed(store(), commitOf(id, [...conflicts, ...deletes]));
    assert.deepEqual(
      mixed.results.slice(0, 100).flatMap(({ refusal }, index) => (refusal === undefined ? [index] : [])),
      [98, 99],
    );
    assert.deepEqual((await store().commitRefs({ ...commitOf(id, conflicts), atomic: true })).kind, "refused");
    assert.equal((await store().readRefs(id)).refs.length, 4902);
  });

  void test("looks by name where a few creates are far apart", async () => {
    const { id } = await repositoryIn(store());
    const many = Array.from({ length: 300 }, (_, index) => change(`refs/m/${index}/x`, undefined, oid(1)));
    await committed(store(), commitOf(id, many));
    const outcome = await committed(
      store(),
      commitOf(id, [
        change("refs/a", undefined, oid(1)),
        change("refs/m/7", undefined, oid(1)),
        change("refs/m/8", undefined, oid(1)),
        change("refs/m/8/x", oid(1), undefined),
        change("refs/z", undefined, oid(1)),
      ]),
    );
    assert.deepEqual(
      outcome.results.map(({ refusal }) => refusal),
      [undefined, "cannot lock ref: 'refs/m/7/x' exists; cannot create 'refs/m/7'", undefined, undefined, undefined],
    );
  });

  void test("more refs than one page are read at one generation", async () => {
    const { id } = await repositoryIn(store());
    const names = Array.from({ length: 10_001 }, (_, index) => `refs/p/${String(index).padStart(6, "0")}`);
    await committed(
      store(),
      commitOf(
        id,
        names.map((name) => change(name, undefined, oid(1))),
      ),
    );
    const { generation, refs } = await store().readRefs(id);
    assert.equal(generation, 1);
    assert.deepEqual(
      refs.map(({ name }) => name),
      names,
    );
    assert.equal((await store().readRefLog(id, 0, 10))[0]?.changes.length, 10_001);
  });

  void test("refs of an unknown repository are an error", async () => {
    await rejectsWith(store().readRefs(uuid()), "repository-not-found");
  });
}

function written(name: string, oldOid: string | undefined, newOid: string | undefined): RefChange {
  return { name, oldOid, newOid, peeled: undefined };
}
