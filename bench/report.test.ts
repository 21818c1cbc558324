import assert from "node:assert/strict";
import { test } from "node:test";
import type { Row, Samples } from "./measurement.ts";
import { compare, comparisonTable, missed, type SamplesOf } from "./report.ts";

const row: Row = { id: "clone", title: "a clone", kept: { time: 0.9, cpu: 0.4 }, plain: { time: 0.8 } };

function samples(seconds: number[], cpuSeconds: number[]): Samples {
  return { seconds, cpuSeconds, privateBytes: 5e6, serverBytes: 1e6 };
}

function given(of: Readonly<Record<string, Samples>>): SamplesOf {
  return (_row, peer) => of[peer];
}

test("a ratio is that of the medians; each baseline has its own target", () => {
  const [kept, plain, ...others] = compare(
    [row],
    given({
      gitmesh: samples([1, 2, 30], [0.3]),
      kept: samples([4, 4, 4], [1, 1]),
      plain: samples([2, 2, 2], [1, 1]),
    }),
  );
  assert.deepEqual(others, []);
  assert.equal(kept?.time.ratio, 0.5);
  assert.equal(kept.time.verdict, "met");
  assert.equal(kept.cpu.verdict, "met");
  assert.equal(plain?.time.ratio, 1);
  assert.equal(plain.time.verdict, "missed");
  assert.equal(plain.cpu.verdict, "none", "no target");
  assert.deepEqual(missed([kept, plain]), ["clone against plain: time"]);
});

test("what was not measured is no row", () => {
  assert.deepEqual(compare([row], given({ gitmesh: samples([1], [1]) })), []);
  assert.equal(compare([row], given({ gitmesh: samples([1], [1]), plain: samples([1], [1]) })).length, 1);
});

test("a target of requests per second is met by more of them", () => {
  const fast: Row = { id: "refs", title: "refs", kept: { rate: 10 } };
  const of = (gitmesh: number): SamplesOf =>
    given({ gitmesh: samples([gitmesh], [1]), kept: samples([0.01, 0.01], [1]) });
  const [better] = compare([fast], of(0.0005));
  assert.equal(better?.time.verdict, "met");
  assert.match(comparisonTable([better]), /\| 20\.0x +\| 10x met +\|/);
  const [worse] = compare([fast], of(0.002));
  assert.equal(worse?.time.verdict, "missed");
  assert.match(comparisonTable([worse]), /\| 5\.0x +\| 10x MISSED +\|/);
});
