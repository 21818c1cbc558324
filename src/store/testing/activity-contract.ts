/** The contract of what is kept for people: events, pushes, work, samples; and of lists of refs and counts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { v7 as uuid } from "uuid";
import type { ClusterEvent, EventQuery, WorkRecord } from "../activity.ts";
import type { Store } from "../store.ts";
import {
  change,
  commitOf,
  committed,
  eventKindsIn,
  eventsIn,
  newRepository,
  oid,
  registrationOf,
  rejectsWith,
  copyIn,
  repositoryIn,
} from "./fixtures.ts";

export function activityContract(store: () => Store): void {
  const eventsOf = (repositoryId: string): Promise<readonly ClusterEvent[]> => eventsIn(store(), repositoryId);
  const kindsOf = (repositoryId: string): Promise<string[]> => eventKindsIn(store(), repositoryId);

  void test("a repository's life is a list of events, which outlives it and is in order of id", async () => {
    const made = await repositoryIn(store(), { name: `events/${uuid()}` });
    await store().updateRepository(made.id, { name: `${made.name}-2`, replicasWanted: 2, denyDeletes: true });
    // What stays as it is is no event.
    await store().updateRepository(made.id, { name: `${made.name}-2`, description: "" });
    await store().updateRepository(made.id, { defaultBranch: "refs/heads/main" });
    await store().deleteRepository(made.id, 5000);
    const events = await eventsOf(made.id);
    assert.deepEqual(
      events.map(({ kind, repositoryName, detail }) => [kind, repositoryName, detail]),
      [
        ["repository-created", made.name, ""],
        ["repository-renamed", `${made.name}-2`, `was ${made.name}`],
        ["repository-changed", `${made.name}-2`, "replicas 3 -> 2, deletes are refused"],
        ["repository-changed", `${made.name}-2`, "default branch master -> main"],
        ["repository-deleted", `${made.name}-2`, ""],
      ],
    );
    assert.deepEqual(
      events.map(({ id }) => id),
      events.map(({ id }) => id).toSorted((one, other) => one - other),
    );
    assert.ok((events[0]?.atMs ?? 0) > 1_600_000_000_000);
  });

  void test("a refused change leaves no event", async () => {
    const made = await repositoryIn(store());
    const before = await store().newestEventId();
    await rejectsWith(store().createRepository(newRepository({ name: made.name })), "repository-exists");
    await rejectsWith(store().updateRepository(uuid(), { name: "x" }), "repository-not-found");
    assert.equal(await store().beginCatchUp(made.id, "n1", 1), false);
    assert.equal(await store().promoteReplica(await copyIn(store(), made.id, "n1"), 1, 1), false);
    assert.equal(await store().removeReplica(made.id, "n1", 3), false);
    assert.equal(await store().newestEventId(), before);
  });

  void test("every change of a replica's state is an event with its reason", async () => {
    const { id } = await repositoryIn(store());
    await committed(
      store(),
      commitOf(id, [change("refs/heads/a", undefined, oid(1))], { stagedNodeIds: ["n1", "n2"] }),
    );
    await store().beginCatchUp(id, "n3", 1);
    await store().promoteReplica(await copyIn(store(), id, "n3"), 1, 1);
    await store().markStale(id, ["n1", "n2"], "was away", 1);
    await store().quarantineReplica(id, "n1", "disagrees", 1);
    await store().removeReplica(id, "n2", 1, "surplus");
    assert.deepEqual(
      (await eventsOf(id))
        .map(({ kind, nodeId, detail }) => `${kind} ${nodeId} ${detail}`)
        .slice(1)
        .toSorted(),
      [
        "replica-preparing n3 catching up",
        "replica-quarantined n1 disagrees",
        "replica-ready n3 complete at generation 1",
        "replica-removed n2 surplus",
        "replica-stale n1 was away",
        "replica-stale n2 was away",
        "replica-stale n3 missed generation 1",
      ],
    );
  });

  void test("what becomes of a damaged copy is told: found, moved aside; and that the last one is sound after all", async () => {
    const { id } = await repositoryIn(store());
    await store().markDamaged(await copyIn(store(), id, "n1"), "damaged: a", 1, { byHand: false });
    await store().recordMovedAside(await copyIn(store(), id, "n1"), 1);
    await store().markStale(id, ["n2"], "was away", 1);
    for (let time = 1; time <= 2; time += 1)
      await store().markDamaged(await copyIn(store(), id, "n3"), "damaged: b", time, { byHand: false });
    for (let time = 3; time <= 4; time += 1) await store().recordVerified(await copyIn(store(), id, "n3"), time);
    assert.deepEqual((await eventsOf(id)).map(({ kind, nodeId, detail }) => `${kind} ${nodeId} ${detail}`).slice(1), [
      "replica-damaged n1 damaged: a",
      "replica-moved-aside n1 to be filled anew",
      "replica-stale n2 was away",
      "replica-damaged n3 damaged: b; there is no other complete copy",
      "replica-sound n3 ",
    ]);
  });

  void test("a copy ahead of the store is told once, and the adoption of its refs", async () => {
    const made = await repositoryIn(store());
    for (let time = 1; time <= 2; time += 1) assert.equal(await store().noteAhead(made.id, "n1", 7, time), true);
    const { name, objectFormat, defaultBranch, replicasWanted } = made;
    const adopted = await store().adoptRepository({
      repositoryId: made.id,
      adoptionId: uuid(),
      expectedGeneration: 0,
      expectedAheadGeneration: 7,
      create: { name, objectFormat, defaultBranch, replicasWanted },
      generation: 8,
      changes: [],
      nodeIds: ["n1"],
      refillNodeIds: [],
      nowMs: 2,
    });
    assert.equal(adopted, true);
    assert.deepEqual((await kindsOf(made.id)).slice(1), ["replica-quarantined", "repository-adopted"]);
  });

  void test("lists by kind, node and page, and reads on after an event", async () => {
    const nodeId = uuid();
    const repository = { id: uuid(), name: "x" };
    const before = await store().newestEventId();
    for (let index = 0; index < 5; index += 1) {
      await store().addEvent({ kind: "repair-failed", repository, nodeId, detail: String(index) });
    }
    await store().addEvent({ kind: "repair-stuck", repository });
    const details = (events: readonly ClusterEvent[]): string => events.map(({ detail }) => detail).join("");
    const newest = await store().listEvents({ nodeId, limit: 2 });
    assert.equal(details(newest), "43");
    const next = await store().listEvents({ nodeId, limit: 2, before: newest[1]?.id });
    assert.equal(details(next), "21");
    assert.equal(
      (await store().listEvents({ repositoryId: repository.id, kinds: ["repair-stuck"], limit: 9 })).length,
      1,
    );
    assert.equal(details(await store().readEventsAfter(before, 3)), "012");
    assert.deepEqual(await store().readEventsAfter(await store().newestEventId(), 3), []);
  });

  void test("lists several kinds together in order, and finds a repository by a name that it had", async () => {
    const nodeId = uuid();
    const name = `renamed-${nodeId}`;
    const [first, second] = [uuid(), uuid()];
    const kinds = ["repair-failed", "repair-stuck", "node-dead", "repair-stuck", "repair-failed"] as const;
    for (const [index, kind] of kinds.entries()) {
      const repository = { id: index < 3 ? first : second, name: index === 4 ? "other" : name };
      await store().addEvent({ kind, repository, nodeId, detail: String(index) });
    }
    const list = async (more: Partial<EventQuery>) =>
      store().listEvents({ kinds: ["repair-failed", "repair-stuck", "repair-stuck"], limit: 3, ...more });
    const newest = await list({});
    assert.deepEqual(
      newest.map(({ detail }) => detail),
      ["4", "3", "1"],
    );
    const next = await list({ before: newest.at(-1)?.id, limit: 1 });
    assert.deepEqual(
      next.map(({ detail }) => detail),
      ["0"],
    );
    assert.deepEqual(await list({ kinds: [] }), []);
    assert.equal((await list({ nodeId, limit: 9 })).length, 4);
    assert.equal(await store().repositoryIdInEvents(name), second, "the one that had it last");
    assert.equal(await store().repositoryIdInEvents(`${name}x`), undefined);
  });

  void test("trims what is old and what is too much", async () => {
    const repository = { id: uuid(), name: "x" };
    for (let index = 0; index < 4; index += 1) await store().addEvent({ kind: "repair-stuck", repository });
    await store().trimEvents(0, 2);
    assert.equal((await eventsOf(repository.id)).length, 2);
    const newest = await store().newestEventId();
    await store().trimEvents(Number.MAX_SAFE_INTEGER, 1_000_000);
    assert.deepEqual(await store().listEvents({ limit: 10 }), []);
    await store().addEvent({ kind: "repair-stuck", repository });
    assert.ok((await store().newestEventId()) > newest, "an id is never given twice");
  });

  void test("a node's joining, return, death, draining and removal are events, each once", async () => {
    const node = registrationOf();
    await store().registerNode(node);
    await store().registerNode(node);
    await store().tellNodeLife(node.id, true);
    await store().tellNodeLife(node.id, false);
    await store().tellNodeLife(node.id, false);
    assert.equal((await store().listNodes()).find(({ id }) => id === node.id)?.toldDead, true);
    await store().tellNodeLife(node.id, true);
    await store().tellNodeLife(node.id, false);
    await store().registerNode({ ...node, bootId: "boot-2" });
    await store().setDraining(node.id, true);
    await store().setDraining(node.id, true);
    const heartbeat = { id: node.id, bootId: "boot-2", diskUsage: 0.1, diskFreeBytes: 1, nowMs: 1, sizes: [] };
    assert.equal(await store().recordHeartbeat({ ...heartbeat, loadAverage: 0.75 }), true);
    const record = (await store().listNodes()).find(({ id }) => id === node.id);
    assert.deepEqual([record?.draining, record?.toldDead, record?.loadAverage], [true, false, 0.75]);
    await store().setDraining(node.id, false);
    await store().removeNode(node.id, { force: true });
    await rejectsWith(store().setDraining(node.id, true), "node-not-found");
    await store().tellNodeLife(node.id, false);
    const kinds = (await store().listEvents({ nodeId: node.id, limit: 20 })).map(({ kind }) => kind).toReversed();
    assert.deepEqual(kinds, [
      "node-joined",
      "node-dead",
      "node-alive",
      "node-dead",
      "node-returned",
      "node-draining",
      "node-undrained",
      "node-removed",
    ]);
  });

  void test("the last pushes, with who and how long each replica took", async () => {
    const { id, name } = await repositoryIn(store());
    const first = commitOf(id, [change("refs/heads/a", undefined, oid(1))], {
      actor: "ada from 10.0.0.1",
      stagedMs: { n1: 12, n2: 30 },
      committedMs: 9_000_000_000_000,
    });
    await committed(store(), first);
    await committed(
      store(),
      commitOf(id, [change("refs/heads/a", oid(1), oid(2))], { committedMs: 9_000_000_000_001 }),
    );
    const [newest, older, none] = await store().listPushes(id, 5);
    assert.deepEqual([newest?.generation, newest?.actor, newest?.stagedMs], [2, "", {}]);
    assert.deepEqual(older, {
      generation: 1,
      pushId: first.pushId,
      committedMs: 9_000_000_000_000,
      actor: "ada from 10.0.0.1",
      refs: [{ name: "refs/heads/a", oldOid: undefined, newOid: oid(1) }],
      stagedMs: { n1: 12, n2: 30 },
    });
    assert.equal(none, undefined);
    assert.equal((await store().listPushes(id, 1)).length, 1);
    assert.deepEqual(await store().listPushedSince(9_000_000_000_001, 10), [
      { id, name, generation: 2, pushedMs: 9_000_000_000_001 },
    ]);
  });

  void test("refs by kind, part of the name and page", async () => {
    const { id } = await repositoryIn(store());
    const names = ["refs/heads/a", "refs/heads/ab", "refs/heads/b/a", "refs/headsx/a", "refs/tags/a", "refs/tags/b"];
    await committed(
      store(),
      commitOf(
        id,
        names.map((name, index) => change(name, undefined, oid(index + 1))),
      ),
    );
    const list = async (prefix: string, more: { contains?: string; after?: string; limit?: number } = {}) =>
      (await store().listRefs(id, { prefix, limit: 10, ...more })).map(({ name }) => name);
    assert.deepEqual(await list("refs/heads/"), names.slice(0, 3));
    assert.deepEqual(await list("refs/heads/", { limit: 2 }), names.slice(0, 2));
    assert.deepEqual(await list("refs/heads/", { after: "refs/heads/ab" }), ["refs/heads/b/a"]);
    assert.deepEqual(await list("refs/heads/", { contains: "b" }), ["refs/heads/ab", "refs/heads/b/a"]);
    assert.deepEqual(await list("refs/tags/", { contains: "s/" }), [], "the prefix itself is not searched");
    assert.equal(await store().countRefs(id, "refs/heads/"), 3);
    assert.equal(await store().countRefs(id, "refs/tags/"), 2);
  });

  void test("counts what a search finds, replicas by node and state, and lists a node's replicas by page", async () => {
    const prefix = uuid();
    const nodeId = uuid();
    const placements = [{ nodeId, created: true }];
    for (const name of ["a", "b", "c"]) await repositoryIn(store(), { name: `${prefix}/${name}`, placements });
    assert.equal(await store().countMatching({ contains: prefix }), 3);
    assert.equal(await store().countMatching({ contains: prefix, state: "healthy" }), 0);
    assert.ok((await store().countMatching({ state: "degraded" })) >= 3);
    const found = await store().findRepository(`${prefix}/b`);
    await store().markStale(found?.repository.id ?? "", [nodeId], "test", 1);
    assert.deepEqual(
      (await store().countReplicas())
        .filter((count) => count.nodeId === nodeId)
        .toSorted((one, other) => other.count - one.count),
      [
        { nodeId, state: "READY", count: 2 },
        { nodeId, state: "STALE", count: 1 },
      ],
    );
    const ids = await store().repositoryIdsOfNode(nodeId, 2);
    assert.equal(ids.length, 2);
    const all = [...ids, ...(await store().repositoryIdsOfNode(nodeId, 2, ids[1]))];
    assert.deepEqual(all, [...new Set(all)].toSorted());
    assert.deepEqual([all.length, all.includes(found?.repository.id ?? "")], [3, true]);
    const page = await store().listReplicasOfNode(nodeId, 2);
    assert.deepEqual(
      page.map(({ name }) => name),
      [`${prefix}/a`, `${prefix}/b`],
    );
    const [last] = await store().listReplicasOfNode(nodeId, 2, `${prefix}/b`);
    assert.equal(last?.name, `${prefix}/c`);
  });

  void test("work is saved, changed, listed (what is running first), removed and trimmed", async () => {
    const work: WorkRecord = {
      repositoryId: uuid(),
      nodeId: "n1",
      repositoryName: "a/b",
      kind: "catch-up",
      state: "running",
      startedMs: 1,
      updatedMs: 1,
      progress: -1,
      detail: "",
      failures: 0,
    };
    await store().saveWork(work);
    const changed: WorkRecord = {
      ...work,
      state: "failed",
      updatedMs: 3,
      progress: 0.5,
      detail: "no room",
      failures: 2,
    };
    await store().saveWork({ ...work, nodeId: "n2", updatedMs: 2 });
    await store().saveWork(changed);
    assert.deepEqual(await store().listWork(10), [{ ...work, nodeId: "n2", updatedMs: 2 }, changed]);
    assert.equal((await store().listWork(1)).length, 1);
    await store().removeWork(work.repositoryId, "n1");
    await store().removeWork(work.repositoryId, "n1");
    assert.equal((await store().listWork(10)).length, 1);
    await store().trimWork(3);
    assert.deepEqual(await store().listWork(10), []);
  });

  void test("samples are replaced, listed by time and subject, and trimmed", async () => {
    const subject = uuid();
    await store().saveSamples([
      { startMs: 60_000, subject, numbers: "{}" },
      { startMs: 120_000, subject, numbers: "{}" },
      { startMs: 120_000, subject: "other", numbers: "{}" },
    ]);
    await store().saveSamples([{ startMs: 120_000, subject, numbers: '{"pushes":1}' }]);
    assert.deepEqual(await store().listSamples(120_000, { prefix: subject }), [
      { startMs: 120_000, subject, numbers: '{"pushes":1}' },
    ]);
    assert.equal((await store().listSamples(0, { prefix: subject, subject: "other" })).length, 3);
    assert.equal((await store().listSamples(0, { prefix: subject, subject: "othe" })).length, 2);
    assert.equal((await store().listSamples(0, { prefix: subject.slice(0, -1) })).length, 2);
    await store().trimSamples(120_000);
    assert.equal((await store().listSamples(0, { prefix: subject, subject: "other" })).length, 2);
    await store().trimSamples(Number.MAX_SAFE_INTEGER);
  });
}
