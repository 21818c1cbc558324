import assert from "node:assert/strict";
import { test } from "node:test";
import { GitmeshError } from "../base/errors.ts";
import { createLogger } from "../base/log.ts";
import { openStore } from "../store/open-store.ts";
import type { Store } from "../store/store.ts";
import { LeaseKeeper } from "./lease.ts";
import { ManualClock } from "./testing/manual-clock.ts";

const leaseMs = 3000;
const log = createLogger("test", "silent");

async function migrated(): Promise<Store> {
  const store = await openStore("sqlite::memory:");
  await store.migrate();
  return store;
}

test("one of two holds it; the other takes over when it runs out, with a higher fencing number", async () => {
  const store = await migrated();
  const clock = new ManualClock();
  const [one, other] = ["one", "other"].map(
    (holder) => new LeaseKeeper({ store, clock, log, name: "repair", holder, leaseMs }),
  );
  assert(one !== undefined && other !== undefined);
  await one.tryOnce();
  await other.tryOnce();
  assert.deepEqual([one.isHolder, other.isHolder], [true, false]);
  const { signal, fencing } = one;
  clock.advance(2000);
  await one.tryOnce();
  assert.equal(one.signal, signal, "a renewal goes on");
  clock.advance(2999);
  assert.equal(one.isHolder, true);
  await other.tryOnce();
  assert.equal(other.isHolder, false);
  clock.advance(2);
  assert.equal(one.isHolder, false, "without a word from the store");
  assert.equal(signal?.aborted, true);
  await other.tryOnce();
  assert.equal(other.isHolder, false, "the renewal was seen 2 ms ago");
  clock.advance(2998);
  await other.tryOnce();
  assert.equal(other.isHolder, true);
  assert((other.fencing ?? 0) > (fencing ?? 0));
});

test("clocks that are a day apart: a living holder keeps it, and a dead one does not keep it for a day", async () => {
  const store = await migrated();
  const clock = new ManualClock();
  const dayMs = 86_400_000;
  for (const aheadMs of [dayMs, -dayMs]) {
    const ahead = new Proxy(clock, {
      get: (target, key) =>
        key === "nowMs" ? () => target.nowMs() + aheadMs : (Reflect.get(target, key) as () => unknown).bind(target),
    });
    const name = `repair ${aheadMs}`;
    const first = new LeaseKeeper({ store, clock: ahead, log, name, holder: "ahead", leaseMs });
    const second = new LeaseKeeper({ store, clock, log, name, holder: "second", leaseMs });
    await first.tryOnce();
    for (let round = 0; round < 6; round += 1) {
      clock.advance(leaseMs / 3);
      await second.tryOnce();
      await first.tryOnce();
      assert.deepEqual([first.isHolder, second.isHolder], [true, false]);
    }
    // The first one dies.
    for (let round = 0; round < 4; round += 1) {
      await second.tryOnce();
      clock.advance(leaseMs / 3);
    }
    await second.tryOnce();
    assert.equal(second.isHolder, true);
  }
});

test("a store that does not answer in time gives no lease", async () => {
  const clock = new ManualClock();
  const store = await migrated();
  const acquireLease: Store["acquireLease"] = async (...args) => {
    const lease = await store.acquireLease(...args);
    clock.advance(leaseMs);
    return lease;
  };
  const slow = new Proxy(store, {
    get: (target, key) => (key === "acquireLease" ? acquireLease : Reflect.get(target, key)),
  });
  const keeper = new LeaseKeeper({ store: slow, clock, log, name: "repair", holder: "one", leaseMs });
  await keeper.tryOnce();
  assert.equal(keeper.isHolder, false);
});

test("a stopped holder gives it back at once, and survives a store that is down", async () => {
  const clock = new ManualClock();
  const store = await migrated();
  let down = false;
  const acquireLease: Store["acquireLease"] = (...args) => {
    if (down) throw new GitmeshError("store-unavailable", "down");
    return store.acquireLease(...args);
  };
  const flaky = new Proxy(store, {
    get: (target, key) => (key === "acquireLease" ? acquireLease : Reflect.get(target, key).bind(target)),
  });
  const stop = new AbortController();
  const keeper = new LeaseKeeper({ store: flaky, clock, log, name: "repair", holder: "one", leaseMs });
  await keeper.tryOnce();
  down = true;
  const running = keeper.run(stop.signal);
  clock.advance(1000);
  assert.equal(keeper.isHolder, true);
  stop.abort();
  await running;
  assert.equal(keeper.isHolder, false);
  assert.equal((await store.acquireLease("repair", "other", leaseMs, clock.nowMs())).holder, "other");
});
