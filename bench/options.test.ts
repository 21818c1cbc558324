import assert from "node:assert/strict";
import { test } from "node:test";
import { parseOptions } from "./options.ts";

test("options have defaults; the short form has fewer rounds unless they are said", () => {
  assert.equal(parseOptions([]).rounds, 5);
  assert.equal(parseOptions(["--short"]).rounds, 2);
  assert.equal(parseOptions(["--short", "--rounds", "7"]).rounds, 7);
  const given = parseOptions(["--only", "push", "--only", "ls", "--repo", "/a", "--json", "f"]);
  assert.deepEqual([given.only, given.repo, given.json], [["push", "ls"], ["/a"], "f"]);
});

test("what makes no sense is refused", () => {
  for (const rounds of ["0", "x", "1.5", "61"]) assert.throws(() => parseOptions(["--rounds", rounds]), /--rounds/);
  assert.throws(() => parseOptions(["--onyl", "push"]), /onyl/);
});
