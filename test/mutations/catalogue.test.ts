/** The deliberate faults can still be made, and each is told in docs/guarantees.md. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { mutations } from "./catalogue.ts";

const root = join(import.meta.dirname, "..", "..");
const guarantees = readFileSync(join(root, "docs", "guarantees.md"), "utf8");

for (const { name, file, find, replace, test: testFile } of mutations) {
  test(`mutation: ${name}`, () => {
    const source = readFileSync(join(root, file), "utf8");
    assert.equal(source.split(find).length - 1, 1, `"${find}" occurs once in ${file}`);
    assert.notEqual(find, replace);
    assert.ok(existsSync(join(root, testFile)), testFile);
    const rows = guarantees.split("\n").filter((line) => line.startsWith("|") && line.includes(name));
    assert.ok(
      rows.some((row) => row.includes(testFile)),
      `a row of docs/guarantees.md has it with ${testFile}`,
    );
  });
}

test("each mutation has a name of its own", () => {
  assert.equal(new Set(mutations.map(({ name }) => name)).size, mutations.length);
});

test("every test that docs/guarantees.md names is there", () => {
  const named = [...guarantees.matchAll(/`((?:src|test)\/[\w./-]+\.test\.ts)`/g)].map(([, file = ""]) => file);
  assert.ok(named.length > 20);
  assert.deepEqual(
    named.filter((file) => !existsSync(join(root, file))),
    [],
  );
});
