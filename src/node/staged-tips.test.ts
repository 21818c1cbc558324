import assert from "node:assert/strict";
import { test } from "node:test";
import { StagedTips } from "./staged-tips.ts";

test("what was staged in a copy that is gone is not known of the next", () => {
  const staged = new StagedTips();
  const before = staged.moment;
  staged.add("r", ["1"], before);
  staged.add("other", ["1"], before);
  assert.deepEqual([staged.has("r", "1"), staged.has("r", "2"), staged.has("other", "1")], [true, false, true]);
  staged.forget("r");
  assert.deepEqual([staged.has("r", "1"), staged.has("other", "1")], [false, true]);
  // Its push was still on the way.
  staged.add("r", ["2"], before);
  assert.equal(staged.has("r", "2"), false);
  staged.add("r", ["3"], staged.moment);
  assert.equal(staged.has("r", "3"), true);
});

test("the oldest are forgotten when there are many", () => {
  const staged = new StagedTips();
  for (let index = 0; index <= 10_000; index += 1) staged.add("r", [`${index}`], staged.moment);
  assert.deepEqual([staged.has("r", "0"), staged.has("r", "1"), staged.has("r", "10000")], [false, true, true]);
});
