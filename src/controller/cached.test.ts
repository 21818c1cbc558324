import assert from "node:assert/strict";
import { test } from "node:test";
import { Cached } from "./cached.ts";
import { ManualClock } from "./testing/manual-clock.ts";

test("one read for all who ask within the time, and one at a time", async () => {
  const clock = new ManualClock();
  let reads = 0;
  let held = Promise.withResolvers<void>();
  const cached = new Cached(
    async () => {
      reads += 1;
      const mine = reads;
      await held.promise;
      return mine;
    },
    { keepMs: 1000, clock },
  );
  const both = Promise.all([cached.get(), cached.get()]);
  clock.advance(400);
  held.resolve();
  assert.deepEqual(await both, [1, 1]);
  clock.advance(599);
  assert.equal(await cached.get(), 1);
  clock.advance(1);
  held = Promise.withResolvers();
  held.resolve();
  assert.equal(await cached.get(), 2, "as old as its beginning");
  assert.equal(await cached.fresh(), 3);
  assert.equal(await cached.get(), 3);
});

test("a failure is not kept", async () => {
  let fails = true;
  const cached = new Cached(async () => (fails ? Promise.reject(new Error("down")) : "up"), {
    keepMs: 1000,
    clock: new ManualClock(),
  });
  await assert.rejects(cached.get(), /down/);
  fails = false;
  assert.equal(await cached.get(), "up");
});
