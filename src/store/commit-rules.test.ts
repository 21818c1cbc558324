import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { ObjectId, RefName } from "../protocol/ref-name.ts";
import { decideCommit, directoriesOf, type CommitRequest } from "./commit-rules.ts";
import type { RequestedChange } from "./store.ts";

const a = "a".repeat(40);
const b = "b".repeat(40);
const c = "c".repeat(40);
const master = "refs/heads/master";
const topic = "refs/heads/topic";
const tag = "refs/tags/v1";

interface Case {
  readonly title: string;
  readonly stored?: Readonly<Record<RefName, ObjectId>>;
  readonly policy?: Partial<CommitRequest["policy"]>;
  readonly changes: readonly RequestedChange[];
  readonly atomic?: boolean;
  /** undefined: accepted. */
  readonly refusals: readonly (string | undefined)[];
  /** Names written; default: those accepted. */
  readonly written?: readonly RefName[];
}

function change(
  name: RefName,
  oldOid: ObjectId | undefined,
  newOid: ObjectId | undefined,
  more: Partial<RequestedChange> = {},
): RequestedChange {
  return { name, oldOid, newOid, peeled: undefined, fastForward: undefined, ...more };
}

const cases: readonly Case[] = [
  { title: "nothing asked", changes: [], refusals: [] },
  { title: "create", changes: [change(topic, undefined, a)], refusals: [undefined] },
  { title: "update", stored: { [topic]: a }, changes: [change(topic, a, b)], refusals: [undefined] },
  { title: "delete", stored: { [topic]: a }, changes: [change(topic, a, undefined)], refusals: [undefined] },
  {
    title: "create of one that exists",
    stored: { [topic]: a },
    changes: [change(topic, undefined, b)],
    refusals: ["reference already exists"],
  },
  {
    title: "create of one that exists with the same value",
    stored: { [topic]: a },
    changes: [change(topic, undefined, a)],
    refusals: ["reference already exists"],
  },
  {
    title: "update from a value that is not the stored one",
    stored: { [topic]: a },
    changes: [change(topic, b, c)],
    refusals: [`cannot lock ref: is at ${a} but expected ${b}`],
  },
  {
    title: "update of one that is missing",
    changes: [change(topic, b, c)],
    refusals: [`cannot lock ref: reference is missing but expected ${b}`],
  },
  {
    title: "delete from a value that is not the stored one",
    stored: { [topic]: a },
    changes: [change(topic, b, undefined)],
    refusals: [`cannot lock ref: is at ${a} but expected ${b}`],
  },
  {
    title: "delete of one that never was",
    policy: { denyDeletes: true },
    changes: [change(topic, undefined, undefined)],
    refusals: [undefined],
    written: [],
  },
  {
    title: "delete, expecting nothing, of one that is",
    stored: { [topic]: a },
    changes: [change(topic, undefined, undefined)],
    refusals: ["reference already exists"],
  },
  {
    title: "same value again",
    stored: { [topic]: a },
    changes: [change(topic, a, a)],
    refusals: [undefined],
    written: [],
  },
  {
    title: "same value again, but it is another",
    stored: { [topic]: b },
    changes: [change(topic, a, a)],
    refusals: [`cannot lock ref: is at ${b} but expected ${a}`],
  },
  {
    title: "refused before",
    changes: [change(topic, undefined, a, { refusal: "missing necessary objects" }), change(tag, undefined, a)],
    refusals: ["missing necessary objects", undefined],
  },
  {
    title: "deletes denied",
    stored: { [tag]: a },
    policy: { denyDeletes: true },
    changes: [change(tag, a, undefined)],
    refusals: ["deletion prohibited"],
  },
  {
    title: "delete of the default branch",
    stored: { [master]: a },
    changes: [change(master, a, undefined)],
    refusals: ["deletion of the current branch prohibited"],
  },
  {
    title: "non-fast-forward denied",
    stored: { [topic]: a, [tag]: a },
    policy: { denyNonFastForwards: true },
    changes: [change(topic, a, b, { fastForward: false }), change(tag, a, b, { fastForward: false })],
    refusals: ["non-fast-forward", undefined],
  },
  {
    title: "non-fast-forward allowed, and fast-forward under the policy",
    stored: { [topic]: a },
    changes: [change(topic, a, b, { fastForward: false })],
    refusals: [undefined],
  },
  {
    title: "fast-forward under the policy",
    stored: { [topic]: a },
    policy: { denyNonFastForwards: true },
    changes: [change(topic, a, b, { fastForward: true })],
    refusals: [undefined],
  },
  {
    title: "one name twice",
    changes: [change(topic, undefined, a), change(tag, undefined, a), change(topic, undefined, b)],
    refusals: ["multiple updates for ref not allowed", undefined, "multiple updates for ref not allowed"],
  },
  {
    title: "a file where a directory is",
    stored: { "refs/heads/topic/one": a },
    changes: [change(topic, undefined, a)],
    refusals: ["cannot lock ref: 'refs/heads/topic/one' exists; cannot create 'refs/heads/topic'"],
  },
  {
    title: "a directory where a file is",
    stored: { [topic]: a },
    changes: [change("refs/heads/topic/one/two", undefined, a)],
    refusals: ["cannot lock ref: 'refs/heads/topic' exists; cannot create 'refs/heads/topic/one/two'"],
  },
  {
    title: "names that only begin alike",
    stored: { [topic]: a, "refs/heads/topic-1": a },
    changes: [change("refs/heads/topic0", undefined, a), change("refs/heads/top", undefined, a)],
    refusals: [undefined, undefined],
  },
  {
    title: "a directory becomes a file in one push, whatever the order",
    stored: { "refs/heads/topic/one": a },
    changes: [change(topic, undefined, a), change("refs/heads/topic/one", a, undefined)],
    refusals: [undefined, undefined],
  },
  {
    title: "a directory does not become a file when its delete is refused",
    stored: { "refs/heads/topic/one": a },
    changes: [change(topic, undefined, a), change("refs/heads/topic/one", b, undefined)],
    refusals: [
      "cannot lock ref: 'refs/heads/topic/one' exists; cannot create 'refs/heads/topic'",
      `cannot lock ref: is at ${a} but expected ${b}`,
    ],
  },
  {
    title: "two creates in each other's way: the first wins",
    changes: [change(topic, undefined, a), change("refs/heads/topic/one", undefined, a)],
    refusals: [undefined, "cannot lock ref: 'refs/heads/topic' exists; cannot create 'refs/heads/topic/one'"],
  },
  {
    title: "atomic: one refused refuses all",
    stored: { [topic]: a },
    changes: [change(topic, b, c), change(tag, undefined, a)],
    atomic: true,
    refusals: [`cannot lock ref: is at ${a} but expected ${b}`, "atomic push failure"],
    written: [],
  },
  {
    title: "atomic: all accepted",
    stored: { [topic]: a },
    changes: [change(topic, a, c), change(tag, undefined, a)],
    atomic: true,
    refusals: [undefined, undefined],
  },
  {
    title: "a name longer than the store can index",
    changes: [change(`refs/heads/${"x".repeat(1024)}`, undefined, a)],
    refusals: ["funny refname"],
  },
];

for (const { title, stored = {}, policy = {}, changes, atomic = false, refusals, written } of cases) {
  test(`commit rules: ${title}`, () => {
    const decision = decide(new Map(Object.entries(stored)), policy, changes, atomic);
    assert.deepEqual(
      decision.results.map((result) => result.refusal),
      refusals,
    );
    assert.deepEqual(
      decision.changes.map(({ name }) => name),
      written ?? changes.filter((_, index) => refusals[index] === undefined).map(({ name }) => name),
    );
  });
}

test("commit rules: what is written carries the peeled value, and none for a delete", () => {
  const changes = [change(tag, undefined, a, { peeled: b }), change(topic, a, undefined, { peeled: b })];
  const decision = decide(new Map([[topic, a]]), {}, changes, false);
  assert.deepEqual(decision.changes, [
    { name: tag, oldOid: undefined, newOid: a, peeled: b },
    { name: topic, oldOid: a, newOid: undefined, peeled: undefined },
  ]);
});

const name = fc
  .array(fc.constantFrom("a", "b", "a-", "a0"), { minLength: 1, maxLength: 3 })
  .map((parts) => ["refs", "heads", ...parts].join("/"));
const value = fc.constantFrom(a, b, c);
const optionalValue = fc.option(value, { nil: undefined });
const storedRefs = fc.array(fc.tuple(name, value), { maxLength: 8 }).map((refs) => {
  const stored = new Map<RefName, ObjectId>();
  for (const [refName, oid] of refs) if (fits(refName, stored)) stored.set(refName, oid);
  return stored;
});
const wanted = fc.record({
  name,
  oldOid: optionalValue,
  newOid: optionalValue,
  peeled: fc.constant(undefined),
  fastForward: fc.constantFrom(true, false, undefined),
  /** Most changes are to know the stored value. */
  knowsOld: fc.integer({ min: 0, max: 3 }),
});
const scenario = fc.record({
  stored: storedRefs,
  wanted: fc.array(wanted, { maxLength: 6 }),
  atomic: fc.boolean(),
  denyDeletes: fc.boolean(),
  denyNonFastForwards: fc.boolean(),
});

test("commit rules: whatever is asked, the refs afterwards are what was answered", () => {
  fc.assert(
    fc.property(scenario, ({ stored, wanted: list, atomic, denyDeletes, denyNonFastForwards }) => {
      const changes = list.map(({ knowsOld, ...rest }) => ({
        ...rest,
        oldOid: knowsOld === 0 ? rest.oldOid : stored.get(rest.name),
      }));
      const decision = decide(stored, { denyDeletes, denyNonFastForwards }, changes, atomic);
      assert.deepEqual(
        decision.results.map((result) => result.name),
        changes.map((each) => each.name),
      );
      const after = new Map(stored);
      for (const written of decision.changes) {
        assert.equal(written.oldOid, stored.get(written.name), "the old value is compared");
        if (written.newOid === undefined) after.delete(written.name);
        else after.set(written.name, written.newOid);
      }
      assert.equal(new Set(decision.changes.map((each) => each.name)).size, decision.changes.length);
      for (const refName of after.keys())
        assert.ok(fits(refName, after), `${refName} is no file and directory at once`);
      for (const [index, { refusal }] of decision.results.entries()) {
        const asked = changes[index];
        assert.ok(asked !== undefined);
        if (refusal === undefined) assert.equal(after.get(asked.name), asked.newOid, "accepted means done");
      }
      const accepted = new Set(decision.results.filter((r) => r.refusal === undefined).map((r) => r.name));
      for (const [refName, oid] of stored) if (!accepted.has(refName)) assert.equal(after.get(refName), oid);
      if (atomic && decision.results.some((r) => r.refusal !== undefined)) assert.equal(accepted.size, 0);
      if (denyDeletes) for (const refName of stored.keys()) assert.ok(after.has(refName));
    }),
    { numRuns: 2000 },
  );
});

test("commit rules: a lone change is refused only for a reason", () => {
  fc.assert(
    fc.property(storedRefs, name, optionalValue, (stored, refName, newOid) => {
      const decision = decide(stored, {}, [change(refName, stored.get(refName), newOid)], false);
      const without = new Map(stored);
      without.delete(refName);
      const possible = newOid === undefined || fits(refName, without);
      assert.equal(decision.results[0]?.refusal === undefined, possible);
    }),
  );
});

/** Decides with no more knowledge than the store reads: the names concerned and the first names below created ones. */
function decide(
  stored: ReadonlyMap<RefName, ObjectId>,
  policy: Partial<CommitRequest["policy"]>,
  changes: readonly RequestedChange[],
  atomic: boolean,
) {
  const concerned = new Set(changes.flatMap((each) => [each.name, ...directoriesOf(each.name)]));
  const current = new Map([...stored].filter(([refName]) => concerned.has(refName)));
  const below = changes.flatMap(({ name: created, newOid }) => {
    if (newOid === undefined) return [];
    const deletes = changes.filter((each) => each.newOid === undefined && each.name.startsWith(`${created}/`)).length;
    return [...stored.keys()]
      .toSorted()
      .filter((refName) => refName.startsWith(`${created}/`))
      .slice(0, deletes + 1);
  });
  return decideCommit({
    policy: { denyDeletes: false, denyNonFastForwards: false, defaultBranch: master, ...policy },
    current,
    below,
    changes,
    atomic,
  });
}

/** Whether a name could be a file beside the others. */
function fits(refName: RefName, others: ReadonlyMap<RefName, ObjectId>): boolean {
  return [...others.keys()].every((other) => !other.startsWith(`${refName}/`) && !refName.startsWith(`${other}/`));
}
