import assert from "node:assert/strict";
import { test } from "node:test";
import { GitLimiter } from "./git-limiter.ts";

interface Job {
  readonly done: Promise<unknown>;
  readonly finish: () => void;
}

/** Starts jobs that end when they are told to; `started` has them in order. */
function jobs(limiter: GitLimiter, started: string[]): (repository: string, name: string, signal?: AbortSignal) => Job {
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
  const job = jobs(new GitLimiter({ gitProcessesMax: 1, gitQueueMax: 10 }), started);
  const all = [job("a", "a1"), job("a", "a2"), job("a", "a3"), job("b", "b1"), job("c", "c1")];
  for (const { finish } of all) finish();
  await Promise.all(all.map(({ done }) => done));
  assert.deepEqual(started, ["a1", "a2", "b1", "c1", "a3"]);
});

test("too many that wait are refused, and who leaves makes room", async () => {
  const started: string[] = [];
  const job = jobs(new GitLimiter({ gitProcessesMax: 1, gitQueueMax: 2 }), started);
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
  const limiter = new GitLimiter({ gitProcessesMax: 1, gitQueueMax: 1 });
  await assert.rejects(
    limiter.run("a", undefined, () => Promise.reject(new Error("failed"))),
    /failed/,
  );
  assert.equal(await limiter.run("a", undefined, async () => 1), 1);
});

test("what can be done meanwhile is done only by those that must wait, and counts as waiting", async () => {
  const limiter = new GitLimiter({ gitProcessesMax: 1, gitQueueMax: 1 });
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
