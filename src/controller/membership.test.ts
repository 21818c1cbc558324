import assert from "node:assert/strict";
import { test } from "node:test";
import { GitmeshError } from "../base/errors.ts";
import { createLogger } from "../base/log.ts";
import { openStore } from "../store/open-store.ts";
import type { Store } from "../store/store.ts";
import { Membership } from "./membership.ts";
import { ManualClock } from "./testing/manual-clock.ts";

const id = "01900000-0000-7000-8000-00000000000a";
const heartbeatIntervalMs = 1000;
const nodeTimeoutMs = 5000;

async function setUp(wallMs?: number) {
  const clock = new ManualClock(wallMs);
  const store = await openStore("sqlite::memory:");
  await store.migrate();
  await store.registerNode({
    id,
    url: "http://a:8082",
    bootId: "boot",
    version: "0.1.0",
    diskUsage: 0.5,
    diskFreeBytes: 10,
    nowMs: clock.nowMs(),
    inventory: [],
    nodeTimeoutMs,
    isAlive: () => undefined,
  });
  const state = { down: false };
  const listNodes: Store["listNodes"] = async () => {
    if (state.down) throw new GitmeshError("store-unavailable", "down");
    return store.listNodes();
  };
  const view = new Proxy(store, { get: (target, key) => (key === "listNodes" ? listNodes : Reflect.get(target, key)) });
  const membership = new Membership({
    store: view,
    clock,
    log: createLogger("test", "silent"),
    heartbeatIntervalMs,
    nodeTimeoutMs,
  });
  await membership.refresh();
  const pass = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += heartbeatIntervalMs) {
      clock.advance(heartbeatIntervalMs);
      await membership.refresh().catch(() => {});
    }
  };
  const beat = (nowMs = clock.nowMs()) =>
    store.recordHeartbeat({ id, bootId: "boot", diskUsage: 0.6, diskFreeBytes: 9, nowMs, sizes: [] });
  return { clock, store, membership, pass, beat, state };
}

test("a node without heartbeats dies after the time-out, and lives again with the next one", async () => {
  const { membership, pass, beat } = await setUp();
  assert.equal(membership.get(id)?.alive, true);
  await pass(4000);
  assert.equal(membership.get(id)?.alive, true);
  await pass(1000);
  assert.equal(membership.get(id)?.alive, false);
  await beat();
  await membership.refresh();
  assert.equal(membership.get(id)?.alive, true);
  assert.equal(membership.get(id)?.diskUsage, 0.6);
});

test("heartbeats written by another controller's wrong clock count all the same", async () => {
  const { clock, membership, pass, beat } = await setUp();
  for (let second = 0; second < 20; second += 1) {
    await beat(clock.nowMs() - 3_600_000);
    await pass(1000);
  }
  assert.equal(membership.get(id)?.alive, true);
});

test("time without the store, or without this process, is no silence of the nodes", async () => {
  const { clock, membership, pass, state } = await setUp();
  state.down = true;
  await pass(60_000);
  assert.equal(membership.get(id)?.alive, true, "the view stays as it was");
  state.down = false;
  await membership.refresh();
  assert.equal(membership.get(id)?.alive, true, "and the node has time to send its next heartbeat");
  clock.advance(60_000);
  await membership.refresh();
  assert.equal(membership.get(id)?.alive, true);
  await pass(5000);
  assert.equal(membership.get(id)?.alive, false);
});

test("a failed request makes suspect until a heartbeat, a success, or for a few seconds", async () => {
  const { clock, membership, beat } = await setUp();
  const isSuspect = () => membership.get(id)?.suspect;
  const fail = () => membership.reportFailure(id, new Error("refused"));
  fail();
  assert.equal(isSuspect(), true);
  assert.equal(membership.get(id)?.alive, true);
  await membership.refresh();
  assert.equal(isSuspect(), true, "an old heartbeat proves nothing");
  membership.heard(id);
  assert.equal(isSuspect(), false);
  fail();
  membership.reportSuccess(id);
  assert.equal(isSuspect(), false);
  fail();
  clock.advance(1);
  await beat();
  await membership.refresh();
  assert.equal(isSuspect(), false);
  fail();
  clock.advance(2999);
  assert.equal(isSuspect(), true);
  clock.advance(1);
  assert.equal(isSuspect(), false);
});

test("requests under way are counted, each released once", async () => {
  const { membership } = await setUp();
  const [one, other] = [membership.track(id), membership.track(id)];
  assert.equal(membership.get(id)?.inFlight, 2);
  one();
  one();
  assert.equal(membership.get(id)?.inFlight, 1);
  other();
  assert.equal(membership.get(id)?.inFlight, 0);
});

test("a node that was removed is gone", async () => {
  const { membership, store } = await setUp();
  await store.removeNode(id, { force: false });
  await membership.refresh();
  assert.equal(membership.get(id), undefined);
  assert.deepEqual(membership.nodes(), []);
});

test("a controller that starts after the store was down for long takes nobody for lost", async () => {
  const clock = new ManualClock();
  const store = await openStore("sqlite::memory:");
  await store.migrate();
  const register = (name: string, nowMs: number) =>
    store.registerNode({
      id: name,
      url: `http://${name}:8082`,
      bootId: "boot",
      version: "0.1.0",
      diskUsage: 0.5,
      diskFreeBytes: 10,
      nowMs,
      inventory: [],
      nodeTimeoutMs,
      isAlive: () => undefined,
    });
  const hourMs = 3_600_000;
  await register("gone", clock.nowMs() - 100_000);
  await register("one", clock.nowMs());
  await register("two", clock.nowMs() + 700);
  clock.advance(hourMs);
  const log = createLogger("test", "silent");
  const membership = new Membership({ store, clock, log, heartbeatIntervalMs, nodeTimeoutMs });
  await membership.refresh();
  assert.deepEqual(
    ["gone", "one", "two"].map((name) => [membership.get(name)?.alive, membership.get(name)?.silentMs]),
    [
      [false, 100_700],
      [false, nodeTimeoutMs],
      [false, nodeTimeoutMs],
    ],
  );
});

test("while the store takes no heartbeats nobody is silent", async () => {
  const { membership, pass } = await setUp();
  membership.noteWrite(false);
  await pass(3 * nodeTimeoutMs);
  assert.equal(membership.get(id)?.alive, true);
  membership.noteWrite(true);
  await pass(2 * nodeTimeoutMs);
  assert.equal(membership.get(id)?.alive, false);
});
