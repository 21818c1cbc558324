/** Calls that get no answer: what is said of them. The network is made up. */
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { api, ApiError } from "./api.ts";

const network = globalThis.fetch;
afterEach(() => {
  globalThis.fetch = network;
});

async function failureOf(work: Promise<unknown>): Promise<ApiError> {
  const failure: unknown = await work.then(
    () => assert.fail("it should fail"),
    (error: unknown) => error,
  );
  assert.ok(failure instanceof ApiError);
  return failure;
}

test("a change without an answer may have been done; a question was not", async () => {
  globalThis.fetch = () => Promise.reject(new TypeError("Failed to fetch"));
  const change = await failureOf(api.deleteRepository("a"));
  assert.deepEqual(
    [change.code, change.remedy],
    ["outcome-unknown", "Look whether it took effect before you try again."],
  );
  assert.equal((await failureOf(api.createRepository("a", {} as never))).code, "outcome-unknown");
  assert.equal((await failureOf(api.cluster(undefined))).code, "no-connection");
});

test("a question that nobody waits for any more is no failure of the server", async () => {
  const called = Promise.withResolvers<void>();
  globalThis.fetch = (_path, options) => {
    const { promise, reject } = Promise.withResolvers<Response>();
    options?.signal?.addEventListener("abort", () => reject(options.signal?.reason as Error));
    called.resolve();
    return promise;
  };
  const abort = new AbortController();
  const asked = api.cluster(abort.signal);
  await called.promise;
  abort.abort(new Error("left the page"));
  await assert.rejects(asked, /left the page/);
});

test("a problem in words keeps its words, and an answer that is none gets some", async () => {
  const body = JSON.stringify({ code: "busy", title: "Busy", detail: "Too many", remedy: "Wait", requestId: "r1" });
  globalThis.fetch = async () => new Response(body, { status: 503 });
  const busy = await failureOf(api.cluster(undefined));
  assert.deepEqual(
    [busy.status, busy.code, busy.title, busy.message, busy.remedy, busy.requestId],
    [503, "busy", "Busy", "Too many", "Wait", "r1"],
  );
  globalThis.fetch = async () => new Response("<html>", { status: 502 });
  assert.equal((await failureOf(api.cluster(undefined))).title, "The server answered with status 502");
});
