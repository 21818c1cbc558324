/** Steps of the repair as people see them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createLogger } from "../base/log.ts";
import { openStore } from "../store/open-store.ts";
import { until } from "./testing/test-cluster.ts";
import { repository } from "./testing/cluster-states.ts";
import { ManualClock } from "./testing/manual-clock.ts";
import { progressOf, WorkLog } from "./work-log.ts";

async function setUp() {
  const store = await openStore("sqlite::memory:");
  await store.migrate();
  const clock = new ManualClock();
  return { store, clock, workLog: new WorkLog({ store, clock, log: createLogger("test", "silent") }) };
}
const step = { kind: "catch-up", nodeId: "n1" } as const;

test("git's words as a part", () => {
  assert.equal(progressOf("Receiving objects:  50% (5/10), 1 MiB | 1 MiB/s\r"), 0.45);
  assert.equal(progressOf("Receiving objects:  90%\rReceiving objects: 100%\rResolving deltas:   0% (0/2)"), 0.9);
  assert.equal(progressOf("remote: Counting objects: 10% (1/10)"), undefined);
});

test("a step that takes a moment is shown with its progress, and gone when it is done", async () => {
  const { store, clock, workLog } = await setUp();
  const { promise, resolve } = Promise.withResolvers<void>();
  let say = (_text: string): void => {};
  const done = workLog.run(repository(), step, (onProgress) => {
    say = onProgress;
    return promise;
  });
  assert.deepEqual(await store.listWork(9), []);
  clock.advance(300);
  await until("it is shown", async () => (await store.listWork(9)).length === 1);
  say("Receiving objects:  20% (2/10)\r");
  const shown = await until("its progress is shown", async () => {
    clock.advance(1000);
    return (await store.listWork(9)).find(({ progress }) => progress > 0);
  });
  assert.deepEqual([shown.state, shown.kind, shown.repositoryName], ["running", "catch-up", "test"]);
  assert.match(shown.detail, /Receiving objects/);
  resolve();
  await done;
  assert.deepEqual(await store.listWork(9), []);
});

test("a failure stays with its reason, counted; the same one is one event", async () => {
  const { store, workLog } = await setUp();
  const fail = (reason: string) =>
    assert.rejects(workLog.run(repository(), step, () => Promise.reject(new Error(reason))));
  await fail("no room");
  await fail("no room");
  await fail("refused");
  const [failed] = await store.listWork(9);
  assert.deepEqual([failed?.state, failed?.failures, failed?.detail], ["failed", 3, "refused"]);
  assert.deepEqual(
    (await store.listEvents({ limit: 9 })).map(({ kind, detail }) => `${kind} ${detail}`),
    ["repair-failed catch-up: refused", "repair-failed catch-up: no room"],
  );
  await workLog.run(repository(), step, async () => {});
  assert.deepEqual(await store.listWork(9), []);
  await store.close();
});
