import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Quarantine, quarantinesGone } from "./quarantine.ts";

test("a server that stops can wait for the quarantines of its replicas, not of another's", async (t) => {
  const root = mkdtempSync(join(tmpdir(), "gitmesh-quarantine-"));
  t.after(() => rmSync(root, { recursive: true }));
  for (const node of ["one", "two"]) mkdirSync(join(root, node, "a.git", "objects"), { recursive: true });
  const mine = await Quarantine.open(join(root, "one", "a.git"));
  const other = await Quarantine.open(join(root, "two", "a.git"));
  let gone = false;
  const waiting = quarantinesGone(join(root, "one")).then(() => (gone = true));
  assert.equal(gone, false);
  await mine.discard();
  await waiting;
  assert.deepEqual(readdirSync(join(root, "one", "a.git", "objects")), []);
  await quarantinesGone(join(root, "one"));
  await other.discard();
});
