/** The HTTP servers' common behaviour, over real sockets. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { buffer } from "node:stream/consumers";
import { Writable } from "node:stream";
import { after, before, test } from "node:test";
import type { FastifyInstance } from "fastify";
import pino from "pino";
import { z } from "zod";
import { GitmeshError } from "./errors.ts";
import { createHttpServer, listen, rawBody, rawBodyRoutes, requireClusterSecret } from "./http.ts";

const logLines: Record<string, unknown>[] = [];
const log = pino(
  { level: "info" },
  new Writable({
    write(chunk: Buffer, _encoding, done) {
      logLines.push(JSON.parse(chunk.toString()) as Record<string, unknown>);
      done();
    },
  }),
);
const secret = "0123456789abcdef";
let app: FastifyInstance;
let url: string;

before(async () => {
  app = createHttpServer({ log, requestIdleMs: 400, bodyLimitBytes: 100 });
  const body = z.strictObject({ count: z.int(), name: z.string().min(1) });
  app.post("/checked", { schema: { body } }, () => ({ ok: true }));
  app.get("/things/:id", () => ({ ok: true }));
  app.get("/bug", () => {
    throw new Error("a secret of the implementation");
  });
  app.get("/down", () => {
    throw new GitmeshError("store-unavailable", "it does not answer");
  });
  app.get("/silent", () => new Promise(() => {}));
  void app.register(async (raw) => {
    rawBodyRoutes(raw);
    raw.post("/raw", async (request) => ({ length: (await buffer(rawBody(request))).length }));
  });
  void app.register(async (guarded) => {
    guarded.addHook("onRequest", requireClusterSecret(`${secret}, another-secret-here`));
    guarded.get("/guarded", () => ({ ok: true }));
  });
  url = await listen(app, "127.0.0.1:0");
});

after(() => app.close());

/** Sends bytes as they are and gives all that comes back until the connection ends. */
async function exchange(bytes: string): Promise<string> {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  socket.on("error", () => {});
  let answer = "";
  socket.setEncoding("utf8").on("data", (text: string) => (answer += text));
  socket.write(bytes);
  await once(socket, "close");
  return answer;
}

async function problem(
  path: string,
  init: RequestInit = {},
): Promise<{ response: Response; body: Record<string, unknown> }> {
  const response = await fetch(`${url}${path}`, init);
  assert.equal(response.headers.get("content-type"), "application/problem+json");
  return { response, body: (await response.json()) as Record<string, unknown> };
}

const json = (body: string): RequestInit => ({ method: "POST", headers: { "content-type": "application/json" }, body });

test("a mistake in a body is reported with every other one", async () => {
  const { response, body } = await problem("/checked", json('{"count":"x","extra":1}'));
  assert.equal(response.status, 400);
  assert.equal(body["code"], "bad-request");
  assert.equal(body["type"], "urn:gitmesh:error:bad-request");
  const errors = body["errors"] as { path: string; message: string }[];
  assert.deepEqual(errors.map(({ path }) => path).toSorted(), ["body/", "body/count", "body/name"]);
});

test("what the framework refuses is told in our words", async () => {
  const cases: readonly [RequestInit, number, string][] = [
    [json("{not json"), 400, "bad-request"],
    [json(""), 400, "bad-request"],
    [json(JSON.stringify({ name: "x".repeat(200) })), 413, "too-large"],
    [{ method: "POST", headers: { "content-type": "text/x" }, body: "x" }, 415, "unsupported-media-type"],
  ];
  for (const [init, status, code] of cases) {
    const { response, body } = await problem("/checked", init);
    assert.equal(response.status, status);
    assert.equal(body["code"], code);
  }
  const bad = await problem("/things/%zz");
  assert.equal(bad.response.status, 400);
  assert.ok(bad.response.headers.get("x-request-id"));
});

test("an unknown address is 404, a known one with another method 405", async () => {
  assert.equal((await problem("/nothing")).response.status, 404);
  assert.equal((await problem("/things/1/more")).response.status, 404);
  const { response, body } = await problem("/things/1?a=b", { method: "DELETE" });
  assert.equal(response.status, 405);
  assert.equal(response.headers.get("allow"), "GET, HEAD");
  assert.equal(body["code"], "method-not-allowed");
});

test("our own faults stay in the log, under the request's id", async () => {
  const { response, body } = await problem("/bug", { headers: { "x-request-id": "test-1" } });
  assert.equal(response.status, 500);
  assert.equal(response.headers.get("x-request-id"), "test-1");
  assert.equal(response.headers.get("x-powered-by"), null);
  assert.doesNotMatch(JSON.stringify(body), /implementation|stack|\.ts/);
  const line = logLines.find((entry) => entry["requestId"] === "test-1");
  assert.match(JSON.stringify(line), /a secret of the implementation/);
});

test("only a plain request id is taken over", async () => {
  for (const given of ["a b", "x".repeat(65), "<script>"]) {
    const response = await fetch(`${url}/things/1`, { headers: { "x-request-id": given } });
    assert.match(response.headers.get("x-request-id") ?? "", /^[0-9a-f-]{36}$/);
  }
});

test("503 says when to try again", async () => {
  const { response } = await problem("/down");
  assert.equal(response.status, 503);
  assert.equal(response.headers.get("retry-after"), "1");
});

test("raw bodies come as they are, whatever their type and beyond the limit of parsed ones", async () => {
  for (const type of ["application/json", "application/x-git-receive-pack-request", "x/y"]) {
    const response = await fetch(`${url}/raw`, {
      method: "POST",
      headers: { "content-type": type },
      body: "{".repeat(5000),
    });
    assert.deepEqual(await response.json(), { length: 5000 });
  }
  assert.deepEqual(await (await fetch(`${url}/raw`, { method: "POST" })).json(), { length: 0 });
});

test("the cluster secret opens, either of two, and nothing else does", async () => {
  const status = async (authorization?: string): Promise<number> =>
    (await fetch(`${url}/guarded`, { headers: authorization === undefined ? {} : { authorization } })).status;
  assert.equal(await status(`Bearer ${secret}`), 200);
  assert.equal(await status("Bearer another-secret-here"), 200);
  for (const wrong of [
    undefined,
    "Bearer ",
    `Bearer ${secret}x`,
    `Basic ${secret}`,
    `Bearer ${secret}, another-secret-here`,
  ]) {
    assert.equal(await status(wrong), 401);
  }
});

test("what could be smuggled past a proxy, or is no HTTP, gets 400 and the connection's end", async () => {
  const head = "POST /raw HTTP/1.1\r\nHost: x\r\n";
  const next = "GET /things/smuggled HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  const cases = [
    `${head}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd${next}`,
    `${head}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${next}`,
    `${head}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n${next}`,
    `${head}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n${next}`,
    `${head}Content-Length: +4\r\n\r\nabcd${next}`,
    `${head}X: a\r\n b\r\nContent-Length:\r\n 4\r\n\r\nabcd${next}`,
    "hello\r\n\r\n",
    "GET /things/1 HTTP/1.1\r\n\r\n",
  ];
  for (const bytes of cases) {
    const answer = await exchange(bytes);
    assert.match(answer, /^HTTP\/1\.1 400 /, bytes);
    assert.equal(answer.split("HTTP/1.1 ").length, 2, `one answer only: ${bytes}\n${answer}`);
  }
  assert.match(await exchange(`GET / HTTP/1.1\r\nHost: x\r\nX: ${"a".repeat(20_000)}\r\n\r\n`), /^HTTP\/1\.1 431 /);
});

test("a connection that moves no byte is closed", async () => {
  assert.equal(await exchange("GET /silent HTTP/1.1\r\nHost: x\r\n\r\n"), "");
  assert.equal(await exchange("POST /raw HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"), "");
});

test("a port in use is one sentence", async () => {
  const other = createHttpServer({ log, requestIdleMs: 1000, bodyLimitBytes: 1 });
  const { port } = new URL(url);
  await assert.rejects(listen(other, `127.0.0.1:${port}`), {
    message: `Port ${port} on 127.0.0.1 is in use by another program.`,
  });
  await other.close();
});

test("requests on connections beyond the limit are refused as busy, but for those that are vital", async () => {
  const limited = createHttpServer({
    log,
    requestIdleMs: 5000,
    bodyLimitBytes: 1,
    connectionsMax: 1,
    vital: ["/vital"],
  });
  limited.get("/vital/sign", () => ({ ok: true }));
  limited.get("/other", () => ({ ok: true }));
  const { port } = new URL(await listen(limited, "127.0.0.1:0"));
  const held = connect(Number(port), "127.0.0.1");
  await once(held, "connect");
  const ask = (path: string): Promise<Response> =>
    fetch(`http://127.0.0.1:${port}${path}`, { headers: { connection: "close" } });
  const refused = await ask("/other");
  assert.equal(refused.status, 503);
  assert.deepEqual([refused.headers.get("retry-after"), refused.headers.get("connection")], ["1", "close"]);
  assert.equal(((await refused.json()) as { code: string }).code, "busy");
  assert.equal((await ask("/vital/sign")).status, 200);
  const closed = once(held, "close");
  held.destroy();
  await closed;
  for (let tries = 0; tries < 200 && (await ask("/other")).status !== 200; tries += 1);
  assert.equal((await ask("/other")).status, 200, "there is room again");
  await limited.close();
});
