/** Some hundred seeds; `npm run simulate -- --seeds 100000` runs as many as one likes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SimulatedDatabase } from "./database.ts";
import { runSeed } from "./run-seed.ts";

const seeds = 300;
const seedsRunTwice = 8;
/** Seeds that found something, and what. */
const found = new Map([
  [1074, "the check itself took what an open transaction had written for committed"],
  [21162, "refs vouched for objects of a push that the replica had missed while it was filled"],
  [36026, "the same"],
  [72106, "a push that was committed, unanswered, and deleted with its repository was said to have failed"],
  [81693, "the same"],
  [87471, "the same"],
  [93299, "the same"],
  [99918, "the same"],
  [5121, "a copy that was lost while its repository was being created was READY for ever"],
]);

test("a seed is the same run each time", async () => {
  const database = await SimulatedDatabase.open();
  for (let seed = 1; seed <= seedsRunTwice; seed += 1) {
    const first = await runSeed(seed, database, { hashed: true });
    const second = await runSeed(seed, database, { hashed: true });
    assert.equal(second.traceHash, first.traceHash, `seed ${seed}`);
  }
});

test(`${seeds} seeds: refs are linearizable, what is acknowledged is kept, READY is complete, all heals`, async () => {
  const database = await SimulatedDatabase.open();
  const counts = new Map<string, number>();
  for (const seed of [...Array.from({ length: seeds }, (_, index) => index + 1), ...found.keys()]) {
    const result = await runSeed(seed, database, { hashed: false });
    assert.deepEqual(result.violations, [], `npm run simulate -- --seed ${seed} --trace`);
    for (const [name, count] of Object.entries(result.counts)) counts.set(name, (counts.get(name) ?? 0) + count);
    for (const [name, count] of result.faults) counts.set(name, (counts.get(name) ?? 0) + count);
  }
  // That nothing was found says something only if much happened.
  for (const [name, least] of [
    ["ok", 5 * seeds],
    ["mismatch", seeds],
    ["unknown", seeds / 10],
    ["reads", 5 * seeds],
    ["completeReplicas", 20 * seeds],
    ["killed-at-a-step", seeds / 10],
    ["commit-unknown", seeds / 10],
    ["disk-lost", seeds / 20],
  ] as const) {
    assert.ok((counts.get(name) ?? 0) >= least, `only ${counts.get(name) ?? 0} ${name}`);
  }
});
