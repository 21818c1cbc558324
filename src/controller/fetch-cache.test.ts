import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { test, type TestContext } from "node:test";
import { createLogger } from "../base/log.ts";
import { FetchCache, type BeginAnswer } from "./fetch-cache.ts";

const log = createLogger("test", "silent");
const never = new AbortController().signal;
const whole = (text: string): Buffer => Buffer.from(`${text}0000`);

function cacheIn(t: TestContext, bytesMax = 1_000_000): { readonly cache: FetchCache; readonly directory: string } {
  const directory = mkdtempSync(join(tmpdir(), "gitmesh-fetch-cache-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const cache = new FetchCache({ directory, bytesMax, log });
  t.after(() => cache.clear());
  return { cache, directory };
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

/** Gives the same text each time, and counts. */
function said(text: string): { readonly begin: BeginAnswer; readonly times: () => number } {
  let times = 0;
  const begin: BeginAnswer = async () => {
    times += 1;
    return { answer: Readable.from([Buffer.from(text)]), kept: true };
  };
  return { begin, times: () => times };
}

async function textOf(stream: Readable): Promise<string> {
  return (await buffer(stream)).toString();
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
  const one = said("onePACK0000");
  const other = said("otherPACK0000");
  assert.equal(await textOf(await cache.get("1", one.begin, never)), "onePACK0000");
  assert.equal(await textOf(await cache.get("1", one.begin, never)), "onePACK0000");
  assert.equal(await textOf(await cache.get("2", other.begin, never)), "otherPACK0000");
  assert.deepEqual([one.times(), other.times()], [1, 1]);
  assert.deepEqual(readdirSync(directory), [], "the files have no names");
  cache.clear();
  assert.equal(await textOf(await cache.get("1", one.begin, never)), "onePACK0000");
  assert.equal(one.times(), 2);
});

test("those that ask at the same time get one answer, each from its beginning", async (t) => {
  const { cache } = cacheIn(t);
  const upstream = new Upstream();
  const first = await cache.get("k", upstream.begin, never);
  upstream.stream.write("abc");
  assert.equal((await take(first, 3)).toString(), "abc");
  const second = await cache.get("k", upstream.begin, never);
  assert.equal((await take(second, 3)).toString(), "abc");
  upstream.stream.end(whole("def"));
  assert.deepEqual(await Promise.all([textOf(first), textOf(second)]), ["def0000", "def0000"]);
  assert.equal(upstream.begun, 1);
});

test("an answer that breaks off does so for all who read it, and is not kept", async (t) => {
  const { cache } = cacheIn(t);
  const upstream = new Upstream();
  const first = await cache.get("k", upstream.begin, never);
  const second = await cache.get("k", upstream.begin, never);
  upstream.stream.write("abc");
  await take(first, 3);
  upstream.stream.destroy(new Error("the node is gone"));
  await assert.rejects(textOf(first), /the node is gone/);
  await assert.rejects(textOf(second), /the node is gone/);
  const again = said("PACK0000");
  assert.equal(await textOf(await cache.get("k", again.begin, never)), "PACK0000");
});

test("who cannot be answered is told so, and the next is asked for anew", async (t) => {
  const { cache } = cacheIn(t);
  const failing: BeginAnswer = async () => {
    throw new Error("no replica");
  };
  const asked = [cache.get("k", failing, never), cache.get("k", failing, never)];
  for (const one of asked) await assert.rejects(one, /no replica/);
  assert.equal(await textOf(await cache.get("k", said("PACK0000").begin, never)), "PACK0000");
});

for (const [what, text] of [
  ["git gave up", "00123fatal: bad object"],
  ["it is a refusal", "0012ERR not here0000"],
] as const) {
  test(`an answer is not kept when ${what}`, async (t) => {
    const { cache } = cacheIn(t);
    const upstream = said(text);
    for (let time = 1; time <= 2; time += 1) {
      assert.equal(await textOf(await cache.get("k", upstream.begin, never)), text);
      assert.equal(upstream.times(), time);
    }
  });
}

test("an answer that must not be kept is given to nobody else", async (t) => {
  const { cache } = cacheIn(t);
  const upstream = new Upstream();
  upstream.kept = false;
  const first = await cache.get("k", upstream.begin, never);
  const mine = upstream.stream;
  const second = await cache.get("k", upstream.begin, never);
  assert.equal(upstream.begun, 2);
  mine.end(whole("one"));
  upstream.stream.end(whole("two"));
  assert.deepEqual(await Promise.all([textOf(first), textOf(second)]), ["one0000", "two0000"]);
});

test("a client that leaves ends nobody else's answer; the last one ends it", async (t) => {
  const { cache } = cacheIn(t);
  const upstream = new Upstream();
  const leaving = new AbortController();
  const first = await cache.get("k", upstream.begin, leaving.signal);
  const second = await cache.get("k", upstream.begin, never);
  first.on("error", () => {});
  leaving.abort();
  upstream.stream.write("abc");
  assert.equal((await take(second, 3)).toString(), "abc");
  assert.equal(upstream.signal?.aborted, false);
  second.destroy();
  assert.equal(upstream.signal.aborted, true);
  assert.equal(upstream.stream.destroyed, true);
  assert.equal(await textOf(await cache.get("k", said("PACK0000").begin, never)), "PACK0000");
});

test("one that is too large is passed on in step, whole, and not kept", async (t) => {
  const { cache } = cacheIn(t, 400);
  const upstream = new Upstream();
  const first = await cache.get("k", upstream.begin, never);
  const second = await cache.get("k", upstream.begin, never);
  const parts = Array.from({ length: 50 }, (_, index) => Buffer.alloc(30, index));
  for (const part of parts) upstream.stream.write(part);
  const early = await take(first, 90);
  const late = await cache.get("k", said("another0000").begin, never);
  assert.equal(await textOf(late), "another0000", "it is not joined in the middle");
  upstream.stream.end("0000");
  const expected = Buffer.concat([...parts, Buffer.from("0000")]);
  const [one, two] = await Promise.all([buffer(first), buffer(second)]);
  assert.ok(Buffer.concat([early, one]).equals(expected));
  assert.ok(two.equals(expected));
});

test("those asked for least recently go when there is no room", async (t) => {
  const { cache } = cacheIn(t, 400);
  const answers = Array.from({ length: 6 }, (_, index) => said(`${index}${"x".repeat(79)}0000`));
  const ask = async (index: number): Promise<void> => {
    const { begin } = answers[index] ?? assert.fail();
    assert.match(await textOf(await cache.get(`k${index}`, begin, never)), new RegExp(`^${index}x`));
  };
  for (const index of [0, 1, 2, 3]) await ask(index);
  await ask(0);
  await ask(4);
  for (const index of [0, 2, 3, 4]) await ask(index);
  await ask(1);
  assert.deepEqual(
    answers.map(({ times }) => times()),
    [1, 2, 1, 1, 1, 0],
  );
});

test("without a place for files every answer goes through", async (t) => {
  const { directory } = cacheIn(t);
  const cache = new FetchCache({ directory: join(directory, "missing"), bytesMax: 1_000_000, log });
  const upstream = said("PACK0000");
  for (let time = 1; time <= 2; time += 1) {
    assert.equal(await textOf(await cache.get("k", upstream.begin, never)), "PACK0000");
    assert.equal(upstream.times(), time);
  }
});
