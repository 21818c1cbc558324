import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { systemClock } from "../../base/clock.ts";
import { waitFor } from "../../../test/support/wait.ts";
import { StoreHealth } from "./health.ts";
import { ConnectionLostError } from "./session.ts";

function healthOver(probe: () => Promise<void>, probeMs = 1000) {
  const seen = { probes: 0, interrupts: 0, recoveries: 0 };
  const health = new StoreHealth({
    probe: () => {
      seen.probes += 1;
      return probe();
    },
    interrupt: () => {
      seen.interrupts += 1;
    },
    onRecovery: () => {
      seen.recoveries += 1;
    },
    probeMs,
    clock: systemClock,
    log: undefined,
  });
  return { health, seen };
}

const refused = (): Promise<void> => Promise.reject(new ConnectionLostError("refused"));

describe("store health", () => {
  test("a suspicion that a probe allays changes nothing", async () => {
    const { health, seen } = healthOver(() => Promise.resolve());
    health.suspect();
    health.suspect();
    await waitFor(() => seen.probes === 1, { what: "the probe" });
    health.check();
    assert.deepEqual(seen, { probes: 1, interrupts: 0, recoveries: 0 });
  });

  test("one connection that fails is not the database", async () => {
    let failures = 1;
    const { health, seen } = healthOver(() => (failures-- > 0 ? refused() : Promise.resolve()));
    health.suspect();
    await waitFor(() => seen.probes === 2, { what: "the second probe" });
    assert.equal(health.isDown, false);
    assert.equal(seen.interrupts, 0);
  });

  test("a database that is down fails every call at once, is asked again, and all goes on when it answers", async () => {
    let down = true;
    const { health, seen } = healthOver(() => (down ? refused() : Promise.resolve()));
    health.suspect();
    await waitFor(() => health.isDown, { what: "it to be down" });
    assert.throws(() => health.check(), ConnectionLostError);
    assert.equal(seen.interrupts, 1, "whatever waits is ended once");
    const up = health.up(30_000);
    await waitFor(() => seen.probes > 3, { what: "more probes" });
    assert.equal(health.isDown, true);
    down = false;
    await up;
    health.check();
    assert.deepEqual([seen.interrupts, seen.recoveries], [1, 1]);
    down = true;
    health.suspect();
    await waitFor(() => health.isDown, { what: "it to be down again" });
    await health.up(10);
    assert.equal(health.isDown, true, "the wait is bounded");
    health.close();
  });

  test("who stands still itself blames nobody", async () => {
    let slow = 2;
    const { health, seen } = healthOver(async () => {
      if (slow-- <= 0) return;
      const endMs = performance.now() + 5;
      await waitFor(() => performance.now() > endMs, { what: "a while" });
      throw new ConnectionLostError("no answer within 1 ms");
    }, 1);
    health.suspect();
    await waitFor(() => seen.probes === 3, { what: "the third probe" });
    assert.equal(seen.interrupts, 0);
  });

  test("closing ends the questions", async () => {
    const { health, seen } = healthOver(refused);
    health.suspect();
    await waitFor(() => health.isDown, { what: "it to be down" });
    const waiting = health.up(30_000);
    health.close();
    await waiting;
    const { probes } = seen;
    const endMs = performance.now() + 600;
    await waitFor(() => performance.now() > endMs, { what: "the time of two more probes" });
    assert.ok(seen.probes <= probes + 1);
  });
});
