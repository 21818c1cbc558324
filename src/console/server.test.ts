/** The console's server in front of controllers that are made up here: assets, passing on, failing over, the stream. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { hostname } from "node:os";
import { test, type TestContext } from "node:test";
import { systemClock } from "../base/clock.ts";
import { createLogger } from "../base/log.ts";
import { MessageCutter } from "./event-relay.ts";
import { startConsole } from "./server.ts";

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** A controller that remembers what it was asked. */
class FakeController {
  readonly asked: string[] = [];
  readonly #server: Server;
  answer: Answer = (_request, response) => {
    response.writeHead(200, { "content-type": "application/json", "x-total-count": "7" }).end('{"a":1}');
  };

  constructor() {
    this.#server = createServer((request, response) => {
      this.asked.push(`${request.method ?? ""} ${request.url ?? ""}`);
      request.resume();
      this.answer(request, response);
    });
  }

  static async start(t: TestContext): Promise<FakeController> {
    const controller = new FakeController();
    controller.#server.listen(0, "127.0.0.1");
    await once(controller.#server, "listening");
    t.after(() => controller.stop());
    return controller;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

async function consoleOf(t: TestContext, ...controllers: readonly string[]): Promise<string> {
  const running = await startConsole(
    {
      name: "console",
      logLevel: "silent",
      shutdownMs: 1000,
      listen: "127.0.0.1:0",
      controllers: [...controllers],
      hosts: ["git.example"],
    },
    { log: createLogger("console", "silent"), clock: systemClock },
  );
  t.after(() => running.close());
  return running.url;
}

/** Nobody listens there. */
const nobody = "http://127.0.0.1:1";

test("the application: a page for every address, files for ever, under a strict policy", async (t) => {
  const url = await consoleOf(t, nobody);
  for (const path of ["/", "/repositories/team/a.b", "/nodes/1?x=/assets/"]) {
    const page = await fetch(url + path);
    assert.equal(page.status, 200);
    assert.match(page.headers.get("content-type") ?? "", /^text\/html/);
    assert.equal(page.headers.get("cache-control"), "no-cache");
    const policy = page.headers.get("content-security-policy") ?? "";
    assert.match(policy, /default-src 'none'; script-src 'self' 'sha256-[\w+/]{43}='; style-src 'self'/);
    assert.doesNotMatch(policy, /unsafe|\*/);
    assert.equal(page.headers.get("x-content-type-options"), "nosniff");
  }
  const html = await (await fetch(url)).text();
  assert.doesNotMatch(html, /<style|style=|onload=|https?:\/\//);
  const inline = [...html.matchAll(/<script>([^]*?)<\/script>/g)].map((match) => match[1] ?? "");
  const hashes = inline.map((script) => createHash("sha256").update(script).digest("base64"));
  const policy = (await fetch(url)).headers.get("content-security-policy") ?? "";
  assert.deepEqual(
    [...policy.matchAll(/'sha256-([^']+)'/g)].map((match) => match[1]),
    hashes,
  );
  const list = await (await fetch(`${url}/repositories`)).text();
  assert.match(list, /modulepreload[^>]*\/assets\/RepositoriesPage-/);
  assert.doesNotMatch(await (await fetch(`${url}/repositories/a/b`)).text(), /RepositoriesPage/);
  const files = [...html.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map((match) => match[1] ?? "");
  assert.ok(files.length >= 4, files.join());
  for (const file of files) {
    const answer = await fetch(url + file, { headers: { "accept-encoding": "br" } });
    assert.equal(answer.status, 200, file);
    await answer.arrayBuffer();
    if (!file.startsWith("/assets/")) continue;
    assert.match(answer.headers.get("cache-control") ?? "", /immutable/);
    assert.equal(answer.headers.get("content-encoding"), "br");
  }
  assert.equal((await fetch(`${url}/assets/old-123.js`)).status, 404);
  assert.equal(
    (await fetch(`${url}/assets/../../package.json`)).headers.get("content-type"),
    "text/html; charset=utf-8",
  );
  for (const path of ["/healthz", "/readyz"]) assert.equal((await fetch(url + path)).status, 200);
});

test("the API is passed on with what matters of its headers, and no controller is a problem in words", async (t) => {
  const controller = await FakeController.start(t);
  const url = await consoleOf(t, nobody, controller.url);
  const answer = await fetch(`${url}/api/repos?contains=a%20b`);
  assert.deepEqual([answer.status, answer.headers.get("x-total-count"), await answer.json()], [200, "7", { a: 1 }]);
  assert.deepEqual(controller.asked, ["GET /api/repos?contains=a%20b"]);
  controller.answer = (request, response) => {
    response.writeHead(409, { "content-type": "application/problem+json" });
    request.pipe(response);
  };
  const body = '{"description":"ä"}';
  const created = await fetch(`${url}/api/repos/a`, {
    method: "POST",
    body,
    headers: { "content-type": "application/json" },
  });
  assert.deepEqual([created.status, created.headers.get("content-type")], [409, "application/problem+json"]);
  assert.equal(await created.text(), body);
  const alone = await consoleOf(t, nobody);
  const failed = await fetch(`${alone}/api/cluster`);
  const problem = (await failed.json()) as { code: string; detail: string };
  assert.deepEqual([failed.status, problem.code], [503, "controller-unreachable"]);
  assert.match(problem.detail, /127\.0\.0\.1:1/);
});

test("a question is asked again elsewhere when its controller breaks off; a change is not", async (t) => {
  const [one, two] = [await FakeController.start(t), await FakeController.start(t)];
  one.answer = (request) => request.socket.destroy();
  const url = await consoleOf(t, one.url, two.url);
  assert.equal((await fetch(`${url}/api/nodes`)).status, 200);
  assert.equal((await fetch(`${url}/api/nodes`)).status, 200);
  assert.deepEqual([one.asked.length, two.asked.length], [1, 2], "the one that answered is asked first from then on");
  two.answer = (request) => request.socket.destroy();
  const changed = await fetch(`${url}/api/repos/a`, { method: "DELETE" });
  assert.deepEqual([changed.status, ((await changed.json()) as { code: string }).code], [502, "outcome-unknown"]);
  assert.deepEqual([one.asked.length, two.asked.length], [1, 3]);
  const unsent = await consoleOf(t, nobody, two.url);
  two.answer = (_request, response) => response.writeHead(204).end();
  assert.equal((await fetch(`${unsent}/api/repos/a`, { method: "DELETE" })).status, 204, "nothing was sent to nobody");
});

test("changes are taken from the console's own pages, and from programs", async (t) => {
  const controller = await FakeController.start(t);
  const url = await consoleOf(t, controller.url);
  const post = async (headers: Record<string, string>): Promise<number> =>
    (await fetch(`${url}/api/repos/a/_delete`, { method: "POST", headers })).status;
  assert.equal(await post({ origin: "http://evil.example" }), 403);
  assert.equal(await post({ origin: "null" }), 403);
  assert.equal(await post({ origin: url }), 200);
  assert.equal(await post({}), 200);
  assert.equal(controller.asked.length, 2);
});

test("a question that one controller cannot answer now is put to the others; the last word is passed on", async (t) => {
  const [one, two] = [await FakeController.start(t), await FakeController.start(t)];
  const unwell: Answer = (_request, response) =>
    response.writeHead(503, { "content-type": "application/problem+json" }).end('{"code":"store-unavailable"}');
  const well = two.answer;
  one.answer = unwell;
  const url = await consoleOf(t, one.url, two.url);
  for (let time = 1; time <= 2; time += 1) assert.equal((await fetch(`${url}/api/nodes`)).status, 200);
  assert.deepEqual([one.asked.length, two.asked.length], [1, 2], "the one that could is asked first from then on");
  two.answer = unwell;
  const answer = await fetch(`${url}/api/nodes`);
  assert.deepEqual([answer.status, await answer.json()], [503, { code: "store-unavailable" }]);
  two.answer = (request) => request.socket.destroy();
  assert.equal((await fetch(`${url}/api/nodes`)).status, 503, "what one said is better than no word");
  two.answer = well;
  assert.equal((await fetch(`${url}/api/nodes`)).status, 200);
  two.answer = unwell;
  one.answer = well;
  const asked = one.asked.length;
  const changed = await fetch(`${url}/api/repos/a`, { method: "DELETE" });
  assert.deepEqual([changed.status, one.asked.length], [503, asked], "a change is not tried twice");
});

test("a stream that begins without the store is taken when there is no better one", async (t) => {
  const [one, two] = [await FakeController.start(t), await FakeController.start(t)];
  const streaming =
    (first: string, headers: object = {}): Answer =>
    (_request, response) => {
      response.writeHead(200, { "content-type": "text/event-stream", ...headers });
      response.write(first);
    };
  one.answer = streaming("event: store\ndata: 1\n\n", { "x-gitmesh-store-down": "true" });
  two.answer = streaming("event: store\ndata: 2\n\n");
  const first = async (url: string): Promise<string | undefined> => {
    const abort = new AbortController();
    const answer = await fetch(`${url}/api/events/stream`, { signal: abort.signal });
    const text = await answer.body?.pipeThrough(new TextDecoderStream()).getReader().read();
    abort.abort();
    return text?.value;
  };
  assert.match((await first(await consoleOf(t, one.url, two.url))) ?? "", /data: 2/);
  assert.match((await first(await consoleOf(t, one.url))) ?? "", /data: 1/);
});

/** The status that a path as it is gets: other clients resolve its dots themselves. */
function rawStatus(url: string, path: string, host = "127.0.0.1"): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(url).port), "127.0.0.1");
    socket.on("error", reject);
    socket.once("data", (chunk: Buffer) => {
      resolve(Number(chunk.toString().slice(9, 12)));
      socket.destroy();
    });
    socket.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  });
}

test("nothing of a controller but its API can be reached", async (t) => {
  const controller = await FakeController.start(t);
  const url = await consoleOf(t, controller.url);
  const outside = [
    "/api/../git/x.git/info/refs",
    "/api/%2e%2e/cluster/heartbeat",
    "/api/a/%2E./../cluster/heartbeat",
    "/api/..",
    "/api/.%2e/",
    "/api/\\..\\..\\cluster",
  ];
  for (const path of outside) assert.equal(await rawStatus(url, path), 404, path);
  assert.deepEqual(controller.asked, []);
  assert.equal(await rawStatus(url, "/api/a/../nodes?x=/../y"), 200);
  assert.deepEqual(controller.asked, ["GET /api/nodes?x=/../y"]);
});

test("the console goes by its own names only: another's may lead here from anybody's page", async (t) => {
  const controller = await FakeController.start(t);
  const url = await consoleOf(t, controller.url);
  for (const host of ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example."]) {
    for (const path of ["/", "/api/nodes", "/api/events/stream"])
      assert.equal(await rawStatus(url, path, host), 403, host);
    assert.equal(await rawStatus(url, "/healthz", host), 200);
  }
  assert.deepEqual(controller.asked, []);
  const own = [
    "127.0.0.1:8080",
    "[::1]:8080",
    "localhost",
    "LocalHost:1",
    "a.localhost",
    "console",
    "git.example:8080",
  ];
  for (const host of [...own, hostname()]) assert.equal(await rawStatus(url, "/api/nodes", host), 200, host);
});

test("the stream goes on from another controller, in the same answer, after the last whole message", async (t) => {
  const [one, two] = [await FakeController.start(t), await FakeController.start(t)];
  const cursors: (string | undefined)[] = [];
  const streaming =
    (first: string): Answer =>
    (request, response) => {
      cursors.push(request.headers["last-event-id"] as string | undefined);
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(first);
    };
  one.answer = streaming("id: 5\nevent: change\ndata: 1\n\nid: 6\nevent: cha");
  two.answer = streaming("id: 6\nevent: change\ndata: 2\n\n");
  const url = await consoleOf(t, one.url, two.url);
  const answer = await fetch(`${url}/api/events/stream`, { headers: { "last-event-id": "3" } });
  assert.equal(answer.headers.get("content-type"), "text/event-stream");
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  assert.ok(reader !== undefined);
  assert.equal((await reader.read()).value, "id: 5\nevent: change\ndata: 1\n\n");
  one.stop();
  assert.equal((await reader.read()).value, "id: 6\nevent: change\ndata: 2\n\n");
  assert.deepEqual(cursors, ["3", "5"]);
  two.stop();
  assert.equal((await reader.read().catch(() => ({ done: true }))).done, true, "it ends when nobody answers");
  assert.equal((await fetch(`${url}/api/events/stream`)).status, 503);
});

test("messages are cut after whole ones, characters of several bytes too", () => {
  const cutter = new MessageCutter("1");
  const bytes = Buffer.from("id: 2\ndata: ä\n\nid: 3\ndata: b");
  const cut = bytes.indexOf(0xa4);
  assert.equal(cutter.take(bytes.subarray(0, cut)), "");
  assert.equal(cutter.take(bytes.subarray(cut)), "id: 2\ndata: ä\n\n");
  assert.equal(cutter.lastId, "2");
  cutter.restart();
  assert.equal(cutter.take(Buffer.from("id: 4\n\n")), "id: 4\n\n");
  assert.equal(cutter.lastId, "4");
});
