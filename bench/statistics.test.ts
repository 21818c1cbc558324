import assert from "node:assert/strict";
import { test } from "node:test";
import { judge, median, noise, p95 } from "./statistics.ts";

test("the median is the middle, or between the two middle ones; the order does not matter", () => {
  assert.equal(median([3]), 3);
  assert.equal(median([9, 1, 5]), 5);
  assert.equal(median([10, 1, 2, 3]), 2.5);
  assert.ok(Number.isNaN(median([])));
  const given = [2, 1];
  median(given);
  assert.deepEqual(given, [2, 1], "the caller's samples keep their order");
});

test("p95 interpolates", () => {
  assert.equal(p95(Array.from({ length: 101 }, (_, index) => index)), 95);
  assert.equal(p95([1, 2]), 1.95);
  assert.equal(p95([7]), 7);
});

test("a baseline that repeats itself has no noise; one sample says nothing", () => {
  assert.equal(noise([2, 2, 2, 2]), 0);
  assert.equal(noise([1]), Number.POSITIVE_INFINITY);
  assert.equal(noise([]), Number.POSITIVE_INFINITY);
});

test("noise is what the halves differ by, parted in turn or by time", () => {
  const jumping = noise([1, 2, 1, 2, 1, 2, 1, 2]);
  assert.equal(jumping, 1, "each second one is twice as slow");
  const drifting = noise([1, 1, 1, 1.5, 1.5, 1.5]);
  assert.equal(drifting, 0.5, "slower towards the end");
  assert.equal(noise([1.5, 1.5, 1.5, 1, 1, 1]), 0.5, "faster towards the end is as much noise");
});

test("a target is missed only by more than the noise", () => {
  const table: [ratio: number, target: number | undefined, relativeNoise: number, verdict: string][] = [
    [0.7, 0.8, 0, "met"],
    [0.8, 0.8, 0, "met"],
    [0.9, 0.8, 0.2, "noise"],
    [0.97, 0.8, 0.2, "missed"],
    [0.81, 0.8, 0, "missed"],
    [5, 0.8, Number.POSITIVE_INFINITY, "noise"],
    [5, undefined, 0, "none"],
    [Number.NaN, 0.8, 0, "none"],
  ];
  for (const [ratio, target, relativeNoise, verdict] of table)
    assert.equal(judge(ratio, target, relativeNoise), verdict, `${ratio} ${target} ${relativeNoise}`);
});
