import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../controller/testing/manual-clock.ts";
import { FairLimiter } from "./fair-limiter.ts";

interface Job {
  readonly done: Promise<unknown>;
  readonly finish: () => void;
}

const clock = new ManualClock();

function limiterOf(runningMax: number, waitingMax: number, waitMs?: number): FairLimiter {
  return new FairLimiter({ runningMax, waitingMax, waitMs, what: "test" }, clock);
}

/** Starts jobs that end when they are told to; `started` has them in order. */
function jobs(
  limiter: FairLimiter,
  started: string[],
): (repository: string, name: string, signal?: AbortSignal) => Job {
  return (repository, name, signal) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const done = limiter.run(repository, signal, async () => {
      started.push(name);
      await promise;
    });
    done.catch(() => {});
    return { done, finish: resolve };
  };
}

test("who waits is served in turn by repository", async () => {
  const started: string[] = [];
  const job = jobs(limiterOf(1, 10), started);
  const all = [job("a", "a1"), job("a", "a2"), job("a", "a3"), job("b", "b1"), job("c", "c1")];
  for (const { finish } of all) finish();
  await Promise.all(all.map(({ done }) => done));
  assert.deepEqual(started, ["a1", "a2", "b1", "c1", "a3"]);
});

test("too many that wait are refused, and who leaves makes room", async () => {
  const started: string[] = [];
  const job = jobs(limiterOf(1, 2), started);
  const abort = new AbortController();
  const first = job("a", "first");
  const leaving = job("a", "leaving", abort.signal);
  const second = job("b", "second");
  await assert.rejects(job("c", "refused").done, { code: "busy" });
  abort.abort(new Error("left"));
  await assert.rejects(leaving.done, /left/);
  const third = job("c", "third");
  for (const { finish } of [first, second, third]) finish();
  await Promise.all([first.done, second.done, third.done]);
  assert.deepEqual(started, ["first", "second", "third"]);
});

test("a failure gives the place back", async () => {
  const limiter = limiterOf(1, 1);
  await assert.rejects(
    limiter.run("a", undefined, () => Promise.reject(new Error("failed"))),
    /failed/,
  );
  assert.equal(await limiter.run("a", undefined, async () => 1), 1);
});

test("what can be done meanwhile is done only by those that must wait, and counts as waiting", async () => {
  const limiter = limiterOf(1, 1);
  const order: string[] = [];
  const after = (name: string, work: Promise<void>): Promise<void> =>
    limiter.runAfter(
      "a",
      undefined,
      async () => void order.push(`${name} meanwhile`),
      async () => {
        order.push(name);
        await work;
      },
    );
  const { promise, resolve } = Promise.withResolvers<void>();
  const first = after("first", promise);
  const second = after("second", Promise.resolve());
  await assert.rejects(after("third", Promise.resolve()), { code: "busy" });
  resolve();
  await Promise.all([first, second]);
  assert.deepEqual(order.toSorted(), ["first", "second", "second meanwhile"]);
  assert.equal(order.at(-1), "second");
});

test("who waits for too long is refused, and makes room", async () => {
  const started: string[] = [];
  const limiter = limiterOf(1, 1, 1000);
  const job = jobs(limiter, started);
  const first = job("a", "first");
  const waiting = job("a", "waiting");
  assert.throws(() => limiter.check(), { code: "busy" });
  clock.advance(1000);
  await assert.rejects(waiting.done, { code: "busy" });
  limiter.check();
  const next = job("b", "next");
  first.finish();
  next.finish();
  await Promise.all([first.done, next.done]);
  assert.deepEqual(started, ["first", "next"]);
});

test("a place is given back once", async () => {
  const limiter = limiterOf(1, 1);
  const release = await limiter.enter("a", undefined);
  release();
  release();
  const held = await limiter.enter("a", undefined);
  const waiting = limiter.enter("a", undefined);
  assert.throws(() => limiter.check(), { code: "busy" });
  held();
  (await waiting)();
  limiter.check();
});
