import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { after, test } from "node:test";
import { systemClock } from "../base/clock.ts";
import type { StageResult } from "../protocol/node-api.ts";
import { HttpNodeClient } from "./node-client.ts";
import { stagePack, type StagedPack } from "./staging.ts";

const repositoryId = "01900000-0000-7000-8000-000000000000";
const secret = "a secret of the test";
const nodeIdleMs = 1500;
const staged: StageResult = { kind: "staged", tips: [{ type: "commit" }], packBytes: 1 };
const servers: Server[] = [];
const nodeClient = new HttpNodeClient({ secret, connectMs: 500, idleMs: nodeIdleMs, clock: systemClock });

after(async () => {
  await nodeClient.close();
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

type Behaviour = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>;

async function fakeNode(name: string, behaviour: Behaviour): Promise<{ nodeId: string; url: string }> {
  const server = createServer((request, response) => {
    request.on("error", () => {});
    // A request that is broken off has nobody to answer.
    Promise.resolve(behaviour(request, response)).catch(() => {});
  });
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { nodeId: name, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

function answer(response: ServerResponse, ...lines: unknown[]): void {
  response.writeHead(200);
  response.end(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
}

async function read(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function good(received: Buffer[]): Behaviour {
  return async (request, response) => {
    const body = await read(request);
    received.push(body);
    answer(response, { alive: true }, { progress: "Resolving deltas: 100%" }, { result: staged });
  };
}

async function* packOf(chunks: number, bytes = 65_536): AsyncGenerator<Buffer> {
  for (let index = 0; index < chunks; index += 1) yield Buffer.alloc(bytes, index);
}

async function stage(
  targets: { nodeId: string; url: string }[],
  pack: AsyncIterable<Uint8Array>,
  packBytesMax = 1e9,
): Promise<StagedPack & { progress: string[] }> {
  const progress: string[] = [];
  const header = { pushId: "p1", tips: [{ name: "refs/heads/x", oid: "a".repeat(40) }], packBytesMax };
  const result = await stagePack(targets, repositoryId, () => header, pack, {
    packBytesMax,
    nodeClient,
    clock: systemClock,
    nodeIdleMs,
    onProgress: (text) => progress.push(text),
    givesUp: (nodeId) => nodeId !== "hopeless",
  });
  return { ...result, progress };
}

test("the same bytes reach every node, and one of them speaks", async () => {
  const received: Buffer[] = [];
  const targets = await Promise.all(["n1", "n2", "n3"].map((name) => fakeNode(name, good(received))));
  const result = await stage(targets, packOf(40));
  assert.deepEqual([...result.results.values()], [staged, staged, staged]);
  assert.equal(result.packBytes, 40 * 65_536);
  assert.deepEqual(result.progress, ["Resolving deltas: 100%"]);
  assert.equal(received.length, 3);
  for (const body of received) {
    const header = body.subarray(0, body.indexOf(0x0a)).toString();
    assert.equal(JSON.parse(header).pushId, "p1");
    assert.equal(body.length - header.length - 1, 40 * 65_536);
    assert.equal(body.at(-1), 39);
  }
});

test("a node that takes nothing drops out, the others finish", async () => {
  const received: Buffer[] = [];
  const stalled = await fakeNode("stalled", (request) => void request.pause());
  const targets = [await fakeNode("n1", good(received)), stalled, await fakeNode("n3", good(received))];
  const result = await stage(targets, packOf(300));
  assert.equal(result.results.get("stalled")?.kind, "unreachable");
  assert.equal(result.results.get("n1")?.kind, "staged");
  assert.equal(result.results.get("n3")?.kind, "staged");
  assert.equal(received[0]?.length, received[1]?.length);
});

test("a node that never answers a small pack drops out", async () => {
  const silent = await fakeNode("silent", (request) => void request.resume());
  const result = await stage([await fakeNode("n1", good([])), silent], packOf(1, 100));
  assert.equal(result.results.get("silent")?.kind, "unreachable");
  assert.equal(result.results.get("n1")?.kind, "staged");
});

test("a node that dies in the middle, or is not there, drops out", async () => {
  const dying = await fakeNode("dying", (request) => {
    request.once("data", () => request.socket.destroy());
  });
  const targets = [dying, { nodeId: "absent", url: "http://127.0.0.1:1" }, await fakeNode("n3", good([]))];
  const result = await stage(targets, packOf(100));
  assert.equal(result.results.get("dying")?.kind, "unreachable");
  assert.equal(result.results.get("absent")?.kind, "unreachable");
  assert.equal(result.results.get("n3")?.kind, "staged");
});

test("a result before the upload's end is taken, and the rest of the upload is read", async () => {
  const bad: StageResult = { kind: "bad-pack", message: "pack signature mismatch" };
  const early = await fakeNode("early", (request, response) => {
    request.resume();
    answer(response, { result: bad });
  });
  const result = await stage([early, await fakeNode("n2", good([]))], packOf(100));
  assert.deepEqual(result.results.get("early"), bad);
  assert.equal(result.results.get("n2")?.kind, "staged");
  assert.equal(result.packBytes, 100 * 65_536);
});

test("a refusal of the node is the node's failure, and tells why", async () => {
  const refusing = await fakeNode("refusing", async (request, response) => {
    await read(request);
    response.writeHead(404, { "content-type": "application/problem+json" });
    response.end(JSON.stringify({ code: "replica-not-found", detail: "no such replica" }));
  });
  const result = await stage([refusing], packOf(1));
  assert.deepEqual(result.results.get("refusing"), { kind: "node-failed", message: "no such replica" });
});

test("an answer without a result, or with nonsense, is a failure", async () => {
  const empty = await fakeNode("empty", async (request, response) => {
    await read(request);
    answer(response, { alive: true });
  });
  const nonsense = await fakeNode("nonsense", async (request, response) => {
    await read(request);
    answer(response, { result: { kind: "perhaps" } });
  });
  const result = await stage([empty, nonsense], packOf(1));
  assert.equal(result.results.get("empty")?.kind, "unreachable");
  assert.equal(result.results.get("nonsense")?.kind, "node-failed");
});

test("a client that goes away ends every upload, and no node finishes one", async () => {
  let finished = 0;
  const aborted: Promise<unknown>[] = [];
  const begun = Promise.withResolvers<void>();
  const targets = await Promise.all(
    ["n1", "n2"].map((name) =>
      fakeNode(name, (request) => {
        aborted.push(once(request, "close").catch(() => {}));
        if (aborted.length === 2) begun.resolve();
        request.on("end", () => (finished += 1)).resume();
      }),
    ),
  );
  async function* leaving(): AsyncGenerator<Buffer> {
    yield* packOf(20);
    await begun.promise;
    throw new Error("client left");
  }
  await assert.rejects(stage(targets, leaving()), /client left/);
  await Promise.all(aborted);
  assert.equal(aborted.length, 2);
  assert.equal(finished, 0);
});

test("a pack over the limit is refused while it streams", async () => {
  let sent = 0;
  async function* endless(): AsyncGenerator<Buffer> {
    for (;;) {
      sent += 1;
      yield Buffer.alloc(65_536);
    }
  }
  const result = await stage([await fakeNode("n1", good([]))], endless(), 1_000_000);
  assert.equal(result.tooLarge, true);
  assert.ok(sent < 20);
});

test("a push is given up at once when a node is busy, unless nobody waits for that one", async () => {
  const busy: StageResult = { kind: "busy", message: "too much to do" };
  const answersBusy: Behaviour = (request, response) => {
    request.resume();
    answer(response, { result: busy });
  };
  const forgotten: Promise<unknown>[] = [];
  const other = await fakeNode("n1", (request) => {
    forgotten.push(once(request, "close").catch(() => {}));
    request.resume();
  });
  async function* endless(): AsyncGenerator<Buffer> {
    for (;;) yield Buffer.alloc(65_536);
  }
  const result = await stage([other, await fakeNode("n2", answersBusy)], endless());
  assert.equal(result.givenUp, true);
  assert.deepEqual(result.results.get("n2"), busy);
  await Promise.all(forgotten);
  const without = await stage([await fakeNode("n1", good([])), await fakeNode("hopeless", answersBusy)], packOf(40));
  assert.equal(without.givenUp, false);
  assert.equal(without.results.get("n1")?.kind, "staged");
});
