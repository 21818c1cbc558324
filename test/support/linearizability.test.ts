import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { checkRegister, type RegisterOperation } from "./linearizability.ts";

type Times = readonly [invoked: number, returned: number];

const write = (
  [invoked, returned]: Times,
  expected: string | null | undefined,
  value: string | null,
  outcome: RegisterOperation["outcome"] = "ok",
): RegisterOperation => ({ process: 0, kind: "write", expected, value, invoked, returned, outcome });

const read = ([invoked, returned]: Times, value: string | null): RegisterOperation => ({
  process: 0,
  kind: "read",
  value,
  invoked,
  returned,
  outcome: "ok",
});

const cases: [what: string, ok: boolean, history: RegisterOperation[]][] = [
  ["nothing", true, []],
  ["a write that is read", true, [write([0, 1], null, "a"), read([2, 3], "a")]],
  ["a stale read", false, [write([0, 1], null, "a"), write([2, 3], "a", "b"), read([4, 5], "a")]],
  ["a lost write", false, [write([0, 1], null, "a"), read([2, 3], null)]],
  ["a read from nowhere", false, [write([0, 1], null, "a"), read([2, 3], "b")]],
  ["two swaps of one value", false, [write([0, 9], null, "a"), write([0, 9], null, "b")]],
  ["two swaps of one value, one refused", true, [write([0, 9], null, "a"), write([0, 9], null, "b", "failed")]],
  ["a read beside a write sees the old", true, [write([0, 9], null, "a"), read([1, 2], null)]],
  ["a read beside a write sees the new", true, [write([0, 9], null, "a"), read([1, 2], "a")]],
  ["new, then old, beside one write", false, [write([0, 9], null, "a"), read([1, 2], "a"), read([3, 4], null)]],
  ["unknown that had effect", true, [write([0, 1], null, "a", "unknown"), read([2, 3], "a")]],
  ["unknown that had none", true, [write([0, 1], null, "a", "unknown"), read([2, 3], null)]],
  ["unknown that has effect late", true, [write([0, 1], null, "a", "unknown"), read([2, 3], null), read([4, 5], "a")]],
  [
    "unknown that has effect and then has not",
    false,
    [write([0, 1], null, "a", "unknown"), read([2, 3], "a"), read([4, 5], null)],
  ],
  ["unknown before its time", false, [read([0, 1], "a"), write([2, 3], null, "a", "unknown")]],
  ["failed that had effect", false, [write([0, 1], null, "a", "failed"), read([2, 3], "a")]],
  ["deleted and made again", true, [write([0, 1], null, "a"), write([2, 3], "a", null), write([4, 5], null, "a")]],
  ["refused rightly", true, [write([0, 1], null, "a"), write([2, 3], null, "b", "mismatch")]],
  ["refused wrongly", false, [write([0, 1], null, "a"), write([2, 3], "a", "b", "mismatch"), read([4, 5], "a")]],
  [
    "refused because of an unknown write",
    true,
    [write([0, 1], null, "a"), write([2, 3], "a", "x", "unknown"), write([4, 5], "a", "b", "mismatch")],
  ],
  ["forced over anything", true, [write([0, 1], null, "a"), write([2, 3], undefined, "b"), read([4, 5], "b")]],
];

for (const [what, ok, history] of cases) {
  test(`${what}: ${ok ? "linearizable" : "not linearizable"}`, () => {
    assert.equal(checkRegister(history).ok, ok);
    assert.equal(bruteForce(history), ok);
  });
}

test("the report names what could not be placed", () => {
  const stale = read([4, 5], "a");
  const verdict = checkRegister([write([0, 1], null, "a"), write([2, 3], "a", "b"), stale]);
  assert.deepEqual(verdict, { ok: false, stuck: [stale], value: "b" });
});

const values = fc.constantFrom(null, "a", "b", "c");
const anyOperation = fc
  .record({
    kind: fc.constantFrom("read" as const, "write" as const),
    expected: fc.option(values, { nil: undefined }),
    value: values,
    invoked: fc.integer({ min: 0, max: 12 }),
    takes: fc.integer({ min: 0, max: 6 }),
    outcome: fc.constantFrom("ok" as const, "ok" as const, "failed" as const, "mismatch" as const, "unknown" as const),
  })
  .map(({ kind, takes, outcome, ...rest }): RegisterOperation => {
    const answered = kind === "read" && outcome !== "failed" ? "ok" : outcome;
    return { process: 0, kind, ...rest, returned: rest.invoked + takes, outcome: answered };
  });

test("says the same as trying every order", () => {
  let good = 0;
  let bad = 0;
  fc.assert(
    fc.property(fc.array(anyOperation, { maxLength: 6 }), (history) => {
      const expected = bruteForce(history);
      if (expected) good += 1;
      else bad += 1;
      assert.equal(checkRegister(history).ok, expected);
    }),
    { numRuns: 3000 },
  );
  assert.ok(good > 100 && bad > 100, `${good} good, ${bad} bad`);
});

test("a long history with many at once and unknown ones is checked", () => {
  const history: RegisterOperation[] = [];
  let value: string | null = null;
  for (let at = 0; at < 20_000; at += 4) {
    const next = `v${at}`;
    history.push(write([at, at + 10], value, next), write([at, at + 9], "never", "none", "unknown"));
    if (at % 100 === 0) history.push(write([at, at + 1], value, `u${at}`, "unknown"));
    history.push(read([at + 3, at + 9], next));
    value = next;
  }
  assert.ok(checkRegister(history).ok);
  history.push(read([30_000, 30_001], "v100"));
  assert.ok(!checkRegister(history).ok);
});

/** Every order of every choice of the unknown ones, straight from the definition. */
function bruteForce(history: readonly RegisterOperation[]): boolean {
  const known = history.filter(({ outcome }) => outcome === "ok" || outcome === "mismatch");
  const unknown = history.filter(({ outcome, kind }) => outcome === "unknown" && kind === "write");
  for (let choice = 0; choice < 2 ** unknown.length; choice += 1) {
    const chosen = unknown.filter((_, index) => (choice >> index) & 1);
    if (someOrder([...known, ...chosen], null)) return true;
  }
  return false;
}

function someOrder(left: readonly RegisterOperation[], value: string | null): boolean {
  if (left.length === 0) return true;
  return left.some((operation) => {
    const others = left.filter((other) => other !== operation);
    if (others.some((other) => other.outcome !== "unknown" && other.returned < operation.invoked)) return false;
    if (operation.kind === "read") return operation.value === value && someOrder(others, value);
    const matches = operation.expected === undefined || operation.expected === value;
    if (operation.outcome === "mismatch") return !matches && someOrder(others, value);
    return matches && someOrder(others, operation.value);
  });
}
