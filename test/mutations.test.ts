/** The catalogue of deliberate faults fits the code, and docs/guarantees.md names each. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { mutations } from "./mutations/catalogue.ts";

const root = join(import.meta.dirname, "..");
const guarantees = readFileSync(join(root, "docs", "guarantees.md"), "utf8");

for (const { name, file, find, replace, test: caughtBy } of mutations) {
  test(name, () => {
    assert.equal(
      readFileSync(join(root, file), "utf8").split(find).length,
      2,
      `in ${file} it is not exactly once: ${find}`,
    );
    assert.notEqual(replace, find);
    assert.ok(existsSync(join(root, caughtBy)), caughtBy);
    assert.ok(guarantees.includes(name), "docs/guarantees.md does not name it");
  });
}

test("every test that docs/guarantees.md names is there, and every risk has a mutation", () => {
  const rows = guarantees.split("\n").filter((line) => /^\|.*`(?:src|test)\//.test(line));
  for (const row of rows) {
    for (const [, path = ""] of row.matchAll(/`((?:src|test)\/[^`*]+\.test\.ts)`/g)) {
      assert.ok(existsSync(join(root, path)), path);
    }
  }
  assert.deepEqual(
    rows.filter((row) => /\| *\|$/.test(row)),
    [],
  );
});
