import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { test, type TestContext } from "node:test";
import { createLogger } from "../base/log.ts";
import { flushPkt, pktLine, sideBand } from "../protocol/pkt-line.ts";
import { FetchCache, type BeginAnswer } from "./fetch-cache.ts";
import { ManualClock } from "./testing/manual-clock.ts";
import { until } from "./testing/test-cluster.ts";

const log = createLogger("test", "silent");
const never = new AbortController().signal;
const begun = pktLine("packfile\n");

function of(question: string, turn = 0): { readonly question: string; readonly turn: number } {
  return { question, turn };
}

/** An answer as git gives it. */
function whole(content: string | Buffer): Buffer {
  return Buffer.concat([begun, sideBand(1, content), flushPkt]);
}

function cacheIn(t: TestContext, bytesMax = 1_000_000) {
  const directory = mkdtempSync(join(tmpdir(), "gitmesh-fetch-cache-"));
  const clock = new ManualClock();
  const cache = new FetchCache({ directory, bytesMax, stepMs: 1000, clock, log });
  t.after(async () => {
    cache.clear();
    await until("its files are closed", () => filesIn(directory) === 0);
    rmSync(directory, { recursive: true, force: true });
  });
  return { cache, directory, clock };
}

/** Files below the directory that this process has open. */
function filesIn(directory: string): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(`${directory}/`);
    } catch {
      return false;
    }
  }).length;
}

/** An answer that the test writes itself. */
class Upstream {
  begun = 0;
  signal: AbortSignal | undefined;
  stream = new PassThrough();
  kept = true;

  readonly begin: BeginAnswer = async (signal) => {
    this.begun += 1;
    this.signal = signal;
    this.stream = new PassThrough();
    return { answer: this.stream, kept: this.kept };
  };
}

/** Gives the same each time, and counts. */
function said(bytes: Buffer): { readonly begin: BeginAnswer; readonly times: () => number } {
  let times = 0;
  const begin: BeginAnswer = async () => {
    times += 1;
    return { answer: Readable.from([bytes]), kept: true };
  };
  return { begin, times: () => times };
}

async function assertAnswer(stream: Promise<Readable> | Readable, expected: Buffer, message = ""): Promise<void> {
  assert.ok((await buffer(await stream)).equals(expected), message);
}

/** Reads until so many bytes came. */
async function take(stream: Readable, bytes: number): Promise<Buffer> {
  let got = Buffer.alloc(0);
  while (got.length < bytes) {
    const chunk = stream.read() as Buffer | null;
    if (chunk === null) await new Promise((resolve) => stream.once("readable", resolve));
    else got = Buffer.concat([got, chunk]);
  }
  return got;
}

test("what was answered once is not asked for again, and each key has its own", async (t) => {
  const { cache, directory } = cacheIn(t);
  const one = said(whole("one"));
  const other = said(whole("other"));
  await assertAnswer(cache.get(of("1"), one.begin, never), whole("one"));
  await assertAnswer(cache.get(of("1"), one.begin, never), whole("one"));
  await assertAnswer(cache.get(of("2"), other.begin, never), whole("other"));
  assert.deepEqual([one.times(), other.times()], [1, 1]);
  assert.deepEqual([readdirSync(directory), filesIn(directory)], [[], 2], "the files have no names");
  cache.clear();
  await assertAnswer(cache.get(of("1"), one.begin, never), whole("one"));
  assert.equal(one.times(), 2);
});

test("those that ask at the same time get one answer, each from its beginning", async (t) => {
  const { cache } = cacheIn(t);
  const upstream = new Upstream();
  const first = await cache.get(of("k"), upstream.begin, never);
  upstream.stream.write(begun);
  assert.deepEqual(await take(first, begun.length), begun);
  const second = await cache.get(of("k"), upstream.begin, never);
  assert.deepEqual(await take(second, begun.length), begun);
  const end = whole("def").subarray(begun.length);
  upstream.stream.end(end);
  await Promise.all([assertAnswer(first, end), assertAnswer(second, end)]);
  assert.equal(upstream.begun, 1);
});

test("a large answer is the same from memory and from the file, for those who come at any time", async (t) => {
  const { cache } = cacheIn(t, 10_000_000);
  const upstream = new Upstream();
  const answer = whole(Buffer.from(Array.from({ length: 900_000 }, (_value, index) => index % 251)));
  const readers = [await cache.get(of("k"), upstream.begin, never)];
  for (let at = 0; at < answer.length; at += 50_021) {
    upstream.stream.write(answer.subarray(at, at + 50_021));
    if (readers.length < 8) readers.push(await cache.get(of("k"), upstream.begin, never));
    await take(readers[0] ?? assert.fail(), 0);
  }
  upstream.stream.end();
  await Promise.all(readers.map((reader) => assertAnswer(reader, answer)));
  await assertAnswer(cache.get(of("k"), upstream.begin, never), answer);
  assert.equal(upstream.begun, 1);
});

test("each turn has an answer of its own, but one that is being made is everybody's", async (t) => {
  const { cache } = cacheIn(t);
  const upstream = new Upstream();
  const readers = [];
  for (const turn of [0, 1, 2]) readers.push(await cache.get(of("k", turn), upstream.begin, never));
  upstream.stream.end(whole("first"));
  await Promise.all(readers.map((reader) => assertAnswer(reader, whole("first"))));
  assert.equal(upstream.begun, 1);
  const second = said(whole("second"));
  for (const [turn, expected] of [
    [1, "second"],
    [0, "first"],
    [1, "second"],
  ] as const)
    await assertAnswer(cache.get(of("k", turn), second.begin, never), whole(expected));
  assert.equal(second.times(), 1);
});

test("an answer that breaks off does so for all who read it, and is not kept", async (t) => {
  const { cache } = cacheIn(t);
  const upstream = new Upstream();
  const first = await cache.get(of("k"), upstream.begin, never);
  const second = await cache.get(of("k"), upstream.begin, never);
  upstream.stream.write(whole("abc"));
  await take(first, 3);
  upstream.stream.destroy(new Error("the node is gone"));
  await assert.rejects(buffer(first), /the node is gone/);
  await assert.rejects(buffer(second), /the node is gone/);
  await assertAnswer(cache.get(of("k"), said(whole("again")).begin, never), whole("again"));
});

test("an answer that git gave up is passed on, and not kept", async (t) => {
  const { cache } = cacheIn(t);
  const upstream = said(Buffer.concat([begun, sideBand(1, "PACK")]));
  for (let time = 1; time <= 2; time += 1) {
    await assertAnswer(cache.get(of("k"), upstream.begin, never), Buffer.concat([begun, sideBand(1, "PACK")]));
    assert.equal(upstream.times(), time);
  }
});

test("who cannot be answered is told so, and the next is asked for anew", async (t) => {
  const { cache } = cacheIn(t);
  const failing: BeginAnswer = async () => {
    throw new Error("no replica");
  };
  const asked = [cache.get(of("k"), failing, never), cache.get(of("k"), failing, never)];
  for (const one of asked) await assert.rejects(one, /no replica/);
  await assertAnswer(cache.get(of("k"), said(whole("x")).begin, never), whole("x"));
});

test("an answer that must not be kept is given to nobody who asks later", async (t) => {
  const { cache, directory } = cacheIn(t);
  const upstream = new Upstream();
  upstream.kept = false;
  const first = await cache.get(of("k"), upstream.begin, never);
  const mine = upstream.stream;
  const second = await cache.get(of("k"), upstream.begin, never);
  assert.equal(upstream.begun, 2);
  mine.end(whole("one"));
  upstream.stream.end(whole("two"));
  assert.equal(filesIn(directory), 0);
  await Promise.all([assertAnswer(first, whole("one")), assertAnswer(second, whole("two"))]);
});

test("a client that leaves ends nobody else's answer; the last one ends it", async (t) => {
  const { cache } = cacheIn(t);
  const upstream = new Upstream();
  const leaving = new AbortController();
  const gone = cache.get(of("k"), upstream.begin, leaving.signal);
  const second = await cache.get(of("k"), upstream.begin, never);
  const third = await cache.get(of("k"), upstream.begin, never);
  await gone;
  leaving.abort();
  third.destroy();
  upstream.stream.write("abc");
  assert.equal((await take(second, 3)).toString(), "abc");
  assert.equal(upstream.signal?.aborted, false);
  second.destroy();
  assert.equal(upstream.signal.aborted, true);
  assert.equal(upstream.stream.destroyed, true);
  await assertAnswer(cache.get(of("k"), said(whole("x")).begin, never), whole("x"));
});

test("one that leaves before the answer has begun is told so, and takes nobody with it", async (t) => {
  const { cache } = cacheIn(t);
  const begins = Promise.withResolvers<undefined>();
  const begin: BeginAnswer = async (signal) => {
    await begins.promise;
    signal.throwIfAborted();
    return { answer: Readable.from([whole("x")]), kept: true };
  };
  const leaving = new AbortController();
  const [first, second] = [cache.get(of("k"), begin, leaving.signal), cache.get(of("k"), begin, never)];
  leaving.abort(new Error("it left"));
  begins.resolve(undefined);
  await assert.rejects(first, /it left/);
  await assertAnswer(second, whole("x"));
  const alone = cache.get(of("other"), begin, AbortSignal.abort(new Error("it left")));
  await assert.rejects(alone, /it left/);
});

test("a reader that stands still holds up neither the answer nor another reader", async (t) => {
  const { cache } = cacheIn(t, 10_000_000);
  const answer = whole(Buffer.alloc(3_000_000, 1));
  const { begin, times } = said(answer);
  const still = await cache.get(of("k"), begin, never);
  await assertAnswer(cache.get(of("k"), begin, never), answer);
  assert.equal(still.readableLength, 0);
  await assertAnswer(still, answer);
  assert.equal(times(), 1);
});

test("one that is too large is passed on in step, whole, is not kept, and not shared the next time", async (t) => {
  const { cache, directory } = cacheIn(t, 400);
  const upstream = new Upstream();
  const first = await cache.get(of("k"), upstream.begin, never);
  const second = await cache.get(of("k"), upstream.begin, never);
  const parts = Array.from({ length: 50 }, (_, index) => Buffer.alloc(30, index));
  for (const part of parts) upstream.stream.write(part);
  const early = await take(first, 90);
  await until("it has outgrown the cache", async () => {
    const late = await cache.get(of("k"), said(whole("another")).begin, never);
    // What is still shared goes on only when it ends.
    const beginning = await take(late, 4);
    late.destroy();
    return beginning.subarray(0, 4).equals(whole("another").subarray(0, 4));
  });
  upstream.stream.end(flushPkt);
  const expected = Buffer.concat([...parts, flushPkt]);
  const [one, two] = await Promise.all([buffer(first), buffer(second)]);
  assert.ok(Buffer.concat([early, one]).equals(expected));
  assert.ok(two.equals(expected));
  await until("its file is closed", () => filesIn(directory) === 0);
  const again = [await cache.get(of("k"), upstream.begin, never), await cache.get(of("k"), upstream.begin, never)];
  assert.equal(upstream.begun, 3, "each for itself");
  for (const reader of again) reader.destroy();
});

test("in step, a reader that stands still is cut off when others wait for it, and only then", async (t) => {
  const { cache, clock } = cacheIn(t, 400);
  const upstream = new Upstream();
  const first = await cache.get(of("k"), upstream.begin, never);
  const still = await cache.get(of("k"), upstream.begin, never);
  const cutOff = new Promise<Error>((resolve) => still.once("error", resolve));
  const parts = Array.from({ length: 50 }, (_, index) => Buffer.alloc(30, index));
  for (const part of parts) upstream.stream.write(part);
  upstream.stream.end();
  // Nobody reads: nobody waits.
  await until("a timer runs", () => {
    clock.advance(1000);
    return true;
  });
  assert.equal(still.destroyed, false);
  const got = buffer(first);
  await until("it is cut off", () => {
    clock.advance(1000);
    return still.destroyed;
  });
  assert.match((await cutOff).message, /slower than others/);
  assert.ok((await got).equals(Buffer.concat(parts)));
});

test("those asked for least recently go when there is no room, unless they are being read", async (t) => {
  const { cache } = cacheIn(t, 400);
  const size = whole("").length;
  const contents = Array.from({ length: 6 }, (_, index) => `${index}${"x".repeat(93 - size)}`);
  const answers = contents.map((content) => said(whole(content)));
  const ask = async (index: number): Promise<void> => {
    const { begin } = answers[index] ?? assert.fail();
    await assertAnswer(cache.get(of(`k${index}`), begin, never), whole(contents[index] ?? ""));
  };
  for (const index of [0, 1, 2, 3]) await ask(index);
  await ask(0);
  await ask(4);
  for (const index of [0, 2, 3, 4]) await ask(index);
  await ask(1);
  const times = (): number[] => answers.map((answer) => answer.times());
  assert.deepEqual(times(), [1, 2, 1, 1, 1, 0]);
  // Now 2, 3, 4 and 1 are there, and 2 is the one to go.
  const reading = await cache.get(of("k2"), answers[2]?.begin ?? assert.fail(), never);
  await ask(3);
  await ask(4);
  await ask(1);
  await ask(5);
  await ask(2);
  assert.deepEqual(times(), [1, 2, 1, 1, 1, 1]);
  await assertAnswer(reading, whole(contents[2] ?? ""));
});

test("without a place for files every answer goes through, and after a while it is tried again", async (t) => {
  const { cache: _cache, directory, clock } = cacheIn(t);
  const missing = join(directory, "missing");
  const cache = new FetchCache({ directory: missing, bytesMax: 1_000_000, stepMs: 1000, clock, log });
  t.after(() => cache.clear());
  const { begin, times } = said(whole("x"));
  const ask = () => assertAnswer(cache.get(of("k"), begin, never), whole("x"));
  await ask();
  mkdirSync(missing);
  await ask();
  assert.equal(times(), 2);
  clock.advance(30_000);
  await ask();
  await ask();
  assert.equal(times(), 3);
  cache.clear();
});

test("a full disk keeps nothing, and fails nobody", async (t) => {
  const { directory, clock } = cacheIn(t);
  const small = join(directory, "small");
  mkdirSync(small);
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", small], { stdio: "ignore" });
  } catch {
    t.skip("no tmpfs can be mounted");
    return;
  }
  const cache = new FetchCache({ directory: small, bytesMax: 10_000_000, stepMs: 1000, clock, log });
  try {
    const upstream = new Upstream();
    const readers = [await cache.get(of("k"), upstream.begin, never), await cache.get(of("k"), upstream.begin, never)];
    const answer = whole(Buffer.alloc(500_000, 5));
    for (let at = 0; at < answer.length; at += 10_000) upstream.stream.write(answer.subarray(at, at + 10_000));
    upstream.stream.end();
    await Promise.all(readers.map((reader) => assertAnswer(reader, answer)));
    const { begin, times } = said(answer);
    for (let time = 1; time <= 2; time += 1) {
      await assertAnswer(cache.get(of("k"), begin, never), answer);
      assert.equal(times(), time);
    }
  } finally {
    cache.clear();
    await until("its files are closed", () => filesIn(small) === 0);
    execFileSync("umount", [small]);
  }
});

test("what is forgotten while it is made goes on, and is not kept", async (t) => {
  const { cache } = cacheIn(t);
  const upstream = new Upstream();
  const reader = await cache.get(of("k"), upstream.begin, never);
  cache.clear();
  upstream.stream.end(whole("x"));
  await assertAnswer(reader, whole("x"));
  const next = said(whole("y"));
  await assertAnswer(cache.get(of("k"), next.begin, never), whole("y"));
});
