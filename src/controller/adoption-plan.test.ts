import assert from "node:assert/strict";
import { test } from "node:test";
import { generationGap, planAdoption, type AdoptionInput, type CopyContent, type FoundCopy } from "./adoption-plan.ts";
import { repository } from "./testing/cluster-states.ts";

const one = "1".repeat(40);
const two = "2".repeat(40);
const three = "3".repeat(40);
const master = "refs/heads/master";
const topic = "refs/heads/topic";

type Refs = Readonly<Record<string, string>>;

function copy(nodeId: string, generation: number, refs: Refs, more: Partial<CopyContent> = {}): FoundCopy {
  const content: CopyContent = {
    name: "test",
    generation,
    objectFormat: "sha1",
    defaultBranch: master,
    refs: Object.entries(refs).map(([name, oid]) => ({ name, oid, peeled: undefined })),
    complete: true,
    ...more,
  };
  return { nodeId, url: `http://${nodeId}:8082`, placed: true, ready: true, content, problem: "" };
}

function missing(nodeId: string): FoundCopy {
  return {
    nodeId,
    url: `http://${nodeId}:8082`,
    placed: true,
    ready: true,
    content: undefined,
    problem: "its repository server is dead",
  };
}

/** The store has generation 5 with master at `one`. */
function input(copies: readonly FoundCopy[], more: Partial<AdoptionInput> = {}): AdoptionInput {
  const stored = repository({ generation: 5, aheadGeneration: 7 });
  const refs = { generation: 5, refs: [{ name: master, oid: one, peeled: undefined }] };
  return {
    repositoryId: stored.id,
    name: "test",
    stored: { repository: stored, refs },
    copies,
    from: undefined,
    ...more,
  };
}

const newest = { [master]: two, [topic]: three };

test("what all copies have is taken over, and the generations go on far above it", () => {
  const plan = planAdoption(input([copy("a", 7, newest), copy("b", 7, newest), copy("c", 7, newest)]));
  assert.equal(plan.problem, "");
  assert.deepEqual(plan.changes, [
    { name: master, oldOid: one, newOid: two, peeled: undefined },
    { name: topic, oldOid: undefined, newOid: three, peeled: undefined },
  ]);
  assert.deepEqual([plan.kind, plan.storeGeneration, plan.generation], ["behind", 5, 7]);
  assert.equal(plan.newGeneration, 7 + generationGap);
  assert.deepEqual(
    plan.copies.map(({ after }) => after),
    ["READY", "READY", "READY"],
  );
});

test("refs that the copies do not have are removed", () => {
  const gone = { [topic]: three };
  const plan = planAdoption(input([copy("a", 7, gone), copy("b", 7, gone)]));
  assert.deepEqual(
    plan.changes.map(({ name, newOid }) => [name, newOid]),
    [
      [topic, three],
      [master, undefined],
    ],
  );
});

test("a copy that lags does not disagree: it catches up", () => {
  const plan = planAdoption(input([copy("a", 7, newest), copy("b", 7, newest), copy("c", 5, { [master]: one })]));
  assert.equal(plan.problem, "");
  assert.deepEqual(
    plan.copies.map(({ after }) => after),
    ["READY", "READY", "STALE"],
  );
});

test("a copy where the store has no replica becomes one if it agrees, and stays as it is otherwise", () => {
  const elsewhere = (generation: number): FoundCopy => ({ ...copy("d", generation, newest), placed: false });
  for (const [generation, after] of [
    [7, "READY"],
    [6, "LEFT"],
  ] as const) {
    const plan = planAdoption(input([copy("a", 7, newest), copy("b", 7, newest), missing("c"), elsewhere(generation)]));
    assert.equal(plan.copies.at(-1)?.after, generation === 7 ? after : "LEFT", plan.problem);
  }
});

test("a copy that lacks objects is not READY, and not taken over", () => {
  const broken = copy("a", 7, newest, { complete: false });
  const plan = planAdoption(input([broken, copy("b", 7, newest), copy("c", 7, newest)]));
  assert.equal(plan.problem, "");
  assert.deepEqual(
    plan.copies.map(({ after }) => after),
    ["REFILLED", "READY", "READY"],
  );
  const all = ["a", "b", "c"].map((node) => copy(node, 7, newest, { complete: false }));
  assert.match(planAdoption(input(all)).problem, /no copy of test has every object/);
  assert.match(planAdoption(input(all, { from: "a" })).problem, /lacks objects/);
});

test("newest copies that differ need a choice; only what was chosen is taken over", () => {
  const copies = [copy("a", 7, newest), copy("b", 7, { [master]: three }), copy("c", 7, newest)];
  const plan = planAdoption(input(copies));
  assert.match(plan.problem, /differ: choose one with --from/);
  assert.equal(plan.content, undefined);
  assert.deepEqual(plan.changes, []);
  const chosen = planAdoption(input(copies, { from: "b" }));
  assert.equal(chosen.problem, "");
  assert.deepEqual(chosen.changes, [{ name: master, oldOid: one, newOid: three, peeled: undefined }]);
  assert.deepEqual(
    chosen.copies.map(({ after }) => after),
    ["REFILLED", "READY", "REFILLED"],
  );
});

test("a minority is not believed without a choice, and a node that is away counts", () => {
  const copies = [copy("a", 7, newest), missing("b"), missing("c")];
  assert.match(planAdoption(input(copies)).problem, /only 1 of 3 copies of test are known to be at generation 7: wait/);
  assert.equal(planAdoption(input(copies, { from: "a" })).problem, "");
  const older = [copy("a", 8, newest), copy("b", 7, newest), copy("c", 7, newest)];
  assert.match(planAdoption(input(older)).problem, /only 1 of 3/, "one replica alone has the newest");
  assert.equal(
    planAdoption(input(older, { from: "b" })).newGeneration,
    8 + generationGap,
    "above what was passed over",
  );
});

test("a repository that only the nodes know is made as they have it", () => {
  const plan = planAdoption(input([copy("a", 3, newest), copy("b", 3, newest)], { stored: undefined }));
  assert.deepEqual([plan.kind, plan.storeGeneration, plan.problem], ["orphan", -1, ""]);
  assert.deepEqual(
    plan.changes.map(({ oldOid }) => oldOid),
    [undefined, undefined],
  );
});

test("where no copy is ahead there is nothing to adopt, whoever chooses", () => {
  const stored = { ...input([]).stored, repository: repository({ generation: 5 }) };
  const refs = { generation: 5, refs: [] };
  for (const from of [undefined, "a"]) {
    const plan = planAdoption(input([copy("a", 5, newest)], { stored: { ...stored, refs }, from }));
    assert.match(plan.problem, /nothing to adopt/);
  }
});

test("without a usable copy nothing can be done", () => {
  assert.match(planAdoption(input([missing("a"), copy("b", -1, {})])).problem, /usable copy/);
});

test("the digest names one plan: whatever would be done otherwise gives another", () => {
  const copies = [copy("a", 7, newest), copy("b", 7, newest), copy("c", 7, newest)];
  const shown = planAdoption(input(copies));
  assert.equal(planAdoption(input(copies)).digest, shown.digest);
  const others = [
    input([copy("a", 7, newest), copy("b", 7, newest), missing("c")]),
    input(["a", "b", "c"].map((node) => copy(node, 8, newest))),
    input(["a", "b", "c"].map((node) => copy(node, 7, { [master]: two }))),
    input(copies, { from: "a" }),
    input(copies, { stored: undefined }),
  ];
  const digests = others.map((other) => planAdoption(other).digest);
  assert.equal(new Set([shown.digest, ...digests]).size, others.length + 1);
});
