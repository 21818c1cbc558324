import assert from "node:assert/strict";
import { connect } from "node:net";
import { test, type TestContext } from "node:test";
import { gzipSync } from "node:zlib";
import { flushPkt, pktLine, sideBand } from "../protocol/pkt-line.ts";
import { verificationAsked } from "../store/verification.ts";
import { parseGitUrl } from "./git-http-route.ts";
import type { FakeNode } from "./testing/fake-node.ts";
import { secret, TestCluster, until } from "./testing/test-cluster.ts";

const uploadPack = "application/x-git-upload-pack-request";
const v2 = { "git-protocol": "version=2" };
const fetchRequest = Buffer.concat([
  pktLine("command=fetch"),
  pktLine("object-format=sha1"),
  Buffer.from("0001"),
  pktLine("done"),
  flushPkt,
]);

test("URLs are read from their end", () => {
  const advertise = (url: string) => parseGitUrl("GET", url);
  assert.deepEqual(advertise("/git/test/info/refs?service=git-upload-pack"), {
    kind: "advertise",
    name: "test",
    service: "git-upload-pack",
  });
  assert.equal(advertise("/git/a/b.git/info/refs?service=git-receive-pack").name, "a/b");
  assert.equal(advertise("/git/info/refs/info/refs?service=git-upload-pack").name, "info/refs");
  assert.equal(advertise("/git/%74est/info/refs?x=1&service=git-upload-pack").name, "test");
  assert.deepEqual(parseGitUrl("POST", "/git/a/git-upload-pack"), {
    kind: "call",
    name: "a",
    service: "git-upload-pack",
  });
});

const refused: [string, string, string][] = [
  ["GET", "/git/test/info/refs", "service-not-offered"],
  ["GET", "/git/test/info/refs?service=git-upload-archive", "service-not-offered"],
  ["GET", "/git/test/info/refs?service=git-upload-pack&service=git-receive-pack", "service-not-offered"],
  ["POST", "/git/test/info/refs?service=git-upload-pack", "method-not-allowed"],
  ["GET", "/git/test/git-upload-pack", "method-not-allowed"],
  ["GET", "/git/test/HEAD", "not-found"],
  ["GET", "/git/info/refs?service=git-upload-pack", "not-found"],
  ["GET", "/git/../etc/info/refs?service=git-upload-pack", "bad-repository-name"],
  ["GET", "/git/a%2fb/info/refs?service=git-upload-pack", "bad-repository-name"],
  ["GET", "/git/a/%2e%2e/b/info/refs?service=git-upload-pack", "bad-repository-name"],
  ["GET", "/git/a%00/info/refs?service=git-upload-pack", "bad-repository-name"],
  ["GET", "/git//a/info/refs?service=git-upload-pack", "bad-repository-name"],
];
for (const [method, url, code] of refused) {
  test(`${method} ${url} is refused`, () => {
    assert.throws(() => parseGitUrl(method, url), { code });
  });
}

async function withRepository(t: TestContext, settings: Record<string, unknown> = {}) {
  const cluster = await TestCluster.start(t, { nodes: 3, settings });
  // On a busy machine the first heartbeats may be late.
  await until("the repository is made", async () => (await cluster.call("POST", "/api/repos/test")).status === 201);
  const post = (body: Uint8Array, headers: Record<string, string> = {}, service = "git-upload-pack") =>
    fetch(`${cluster.url}/git/test.git/${service}`, {
      method: "POST",
      body: new Uint8Array(body),
      headers: { "content-type": `application/x-${service}-request`, ...headers },
    });
  return { cluster, post };
}

test("advertisements, ls-refs and refusals need no node", async (t) => {
  const { cluster, post } = await withRepository(t);
  const refs = (query: string, headers = {}) => fetch(`${cluster.url}/git/test.git/info/refs${query}`, { headers });
  const v0 = await refs("?service=git-upload-pack");
  assert.equal(v0.status, 200);
  assert.equal(v0.headers.get("content-type"), "application/x-git-upload-pack-advertisement");
  assert.equal(v0.headers.get("cache-control"), "no-cache, max-age=0, must-revalidate");
  assert.match(await v0.text(), /^001e# service=git-upload-pack\n0000.*capabilities\^\{\}/);
  assert.match(await (await refs("?service=git-upload-pack", v2)).text(), /version 2\n.*agent=gitmesh\//s);
  assert.match(await (await refs("?service=git-receive-pack", v2)).text(), /report-status-v2/, "no v2 of pushing");
  const head = await fetch(`${cluster.url}/git/test/info/refs?service=git-upload-pack`, { method: "HEAD" });
  assert.deepEqual([head.status, await head.text()], [200, ""]);

  const dumb = await refs("");
  assert.deepEqual([dumb.status, dumb.headers.get("content-type")], [403, "text/plain; charset=utf-8"]);
  const unknown = await fetch(`${cluster.url}/git/nope/info/refs?service=git-upload-pack`);
  assert.deepEqual([unknown.status, await unknown.text()], [404, "repository not found\n"]);

  const lsRefs = Buffer.concat([
    pktLine("command=ls-refs"),
    Buffer.from("0001"),
    pktLine("unborn"),
    pktLine("symrefs"),
    flushPkt,
  ]);
  const plain = await (await post(lsRefs, v2)).text();
  assert.match(plain, /unborn HEAD symref-target:refs\/heads\/master/);
  assert.equal(await (await post(gzipSync(lsRefs), { ...v2, "content-encoding": "gzip" })).text(), plain);
  assert.match(
    await (await post(Buffer.concat([pktLine("command=steal"), flushPkt]), v2)).text(),
    /ERR unknown command 'steal'/,
  );
  const sha256 = Buffer.concat([pktLine("command=ls-refs"), pktLine("object-format=sha256"), flushPkt]);
  assert.match(await (await post(sha256, v2)).text(), /ERR this repository's object format is sha1/);
  for (const node of cluster.nodes) assert.equal(node.callsTo("/git-upload-pack").length, 0);
});

test("bad bodies are the client's mistake", async (t) => {
  const { post } = await withRepository(t, { fetchRequestBytesMax: 10_000 });
  const status = async (answer: Promise<Response>) => (await answer).status;
  assert.equal(await status(post(Buffer.from("zzzz"), v2)), 400);
  assert.equal(await status(post(Buffer.from("0010comm"), v2)), 400);
  assert.equal(await status(post(flushPkt, { "content-type": "text/plain" })), 415);
  assert.equal(await status(post(flushPkt, { "content-encoding": "br" })), 415);
  assert.equal(await status(post(Buffer.from("no gzip"), { "content-encoding": "gzip" })), 400);
  assert.equal(await status(post(gzipSync(fetchRequest).subarray(0, 20), { "content-encoding": "gzip" })), 400);
  assert.equal(
    await status(post(gzipSync(Buffer.alloc(10_000_000)), { "content-encoding": "gzip" })),
    413,
    "small packed, large unpacked",
  );
  assert.equal(await status(post(flushPkt, v2)), 200);
});

test("a fetch is spread over the nodes, and goes on to the next when one fails before its first byte", async (t) => {
  const { cluster, post } = await withRepository(t);
  const source = async () => (await (await post(fetchRequest, v2)).text()).replace("objects from ", "");
  assert.equal(new Set([await source(), await source(), await source()]).size, 3);
  cluster.node(0).behaviours.set("/git-upload-pack", (_call, response) => response.destroy());
  cluster.node(1).behaviours.set("/git-upload-pack", (_call, response) => {
    response.writeHead(200);
    response.flushHeaders();
    setImmediate(() => response.destroy());
  });
  for (let index = 0; index < 3; index += 1) assert.equal(await source(), cluster.node(2).id);
  cluster.node(2).behaviours.set("/git-upload-pack", (_call, response) => response.writeHead(500).end());
  const answer = await post(fetchRequest, v2);
  assert.equal(answer.status, 503);
  assert.equal(answer.headers.get("retry-after"), "1");
  assert.match(await answer.text(), /^no replica of test could answer/);
});

test("a node that says it has no such replica loses its READY", async (t) => {
  const { cluster, post } = await withRepository(t, { repairIntervalMs: 60_000 });
  for (const node of cluster.nodes.slice(0, 2)) {
    node.behaviours.set("/git-upload-pack", (_call, response) => {
      response.writeHead(404).end(JSON.stringify({ code: "replica-not-found", detail: "none" }));
    });
  }
  for (let index = 0; index < 3; index += 1) assert.match(await (await post(fetchRequest, v2)).text(), /objects/);
  const found = await cluster.store.findRepository("test");
  const ready = found?.replicas.filter(({ state }) => state === "READY").map(({ nodeId }) => nodeId);
  assert.deepEqual(ready, [cluster.node(2).id]);
});

test("a client that leaves ends the node's work and blames nobody", async (t) => {
  const { cluster } = await withRepository(t);
  let ended = 0;
  for (const node of cluster.nodes) {
    node.behaviours.set("/git-upload-pack", (_call, response) => {
      response.writeHead(200);
      response.write("the first bytes");
      response.on("close", () => {
        ended += 1;
      });
    });
  }
  const socket = connect(Number(new URL(cluster.url).port), "127.0.0.1");
  socket.write(
    `POST /git/test/git-upload-pack HTTP/1.1\r\nHost: x\r\nContent-Type: ${uploadPack}\r\nGit-Protocol: version=2\r\n` +
      `Content-Length: ${fetchRequest.length}\r\n\r\n`,
  );
  socket.write(fetchRequest);
  await new Promise((resolve) => socket.once("data", resolve));
  socket.destroy();
  await until("the node's answer is ended", () => ended === 1);
  const { nodes } = (await (await cluster.call("GET", "/api/cluster")).json()) as { nodes: unknown };
  assert.deepEqual(nodes, { total: 3, alive: 3, suspect: 0, dead: 0 });
});

test("a push without a quorum is refused in words before its upload", async (t) => {
  const { cluster } = await withRepository(t);
  const ask = () => fetch(`${cluster.url}/git/test/info/refs?service=git-receive-pack`);
  await cluster.kill(cluster.node(0));
  await cluster.kill(cluster.node(1));
  const answer = await until("the nodes are dead", async () => {
    const now = await ask();
    return now.status === 503 ? now : undefined;
  });
  assert.match(await answer.text(), /^only 1 of the 2 complete replicas that a push needs can be reached/);
  assert.equal((await fetch(`${cluster.url}/git/test/info/refs?service=git-upload-pack`)).status, 200);
  await cluster.revive(cluster.node(1));
  await until("pushes are taken again", async () => (await ask()).status === 200);
});

test("Expect: 100-continue is answered", async (t) => {
  const { cluster } = await withRepository(t);
  const socket = connect(Number(new URL(cluster.url).port), "127.0.0.1");
  t.after(() => socket.destroy());
  let received = "";
  socket.on("data", (chunk: Buffer) => {
    received += chunk.toString();
  });
  socket.write(
    `POST /git/test/git-upload-pack HTTP/1.1\r\nHost: x\r\nContent-Type: ${uploadPack}\r\nExpect: 100-continue\r\n` +
      `Git-Protocol: version=2\r\nContent-Length: 4\r\n\r\n`,
  );
  await until("it may go on", () => received.startsWith("HTTP/1.1 100 Continue"));
  socket.write("0000");
  await until("it is answered", () => received.includes("HTTP/1.1 200 OK"));
});

test("what nodes call is closed without the cluster secret", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 1 });
  assert.equal((await cluster.node(0).register(cluster.url, "a wrong secret for it")).status, 401);
  assert.equal((await cluster.node(0).heartbeat(cluster.url, "a wrong secret for it")).status, 401);
  assert.equal((await cluster.node(0).heartbeat(cluster.url, secret)).status, 200);
});

test("a replica that finds out that it cannot read its objects is passed over, also after words of progress", async (t) => {
  const { cluster, post } = await withRepository(t);
  const packfile = pktLine("packfile\n");
  const good = Buffer.concat([packfile, sideBand(2, "Counting"), sideBand(1, "PACK..."), flushPkt]);
  const words = "aborting due to possible repository corruption on the remote side.";
  const broken = Buffer.concat([packfile, sideBand(2, "error: packfile claims"), sideBand(3, words)]);
  const asked: FakeNode[] = [];
  for (const node of cluster.nodes) {
    node.behaviours.set("/git-upload-pack", (_call, response) => {
      asked.push(node);
      response.writeHead(200);
      // In pieces, as it comes.
      const answer = asked.length < 3 ? broken : good;
      response.write(answer.subarray(0, 20), () => response.end(answer.subarray(20)));
    });
  }
  assert.deepEqual(Buffer.from(await (await post(fetchRequest, v2)).arrayBuffer()), good);
  assert.equal(new Set(asked).size, 3);
  const found = await cluster.store.findRepository("test");
  const suspected = found?.replicas.filter(({ verifiedMs }) => verifiedMs === verificationAsked).length ?? 0;
  assert.ok(suspected > 0 || asked.some((node) => node.callsTo("/_verify").length > 0), "they are to be verified");
  for (const node of cluster.nodes) node.behaviours.set("/git-upload-pack", (_call, response) => response.end(broken));
  assert.match(await (await post(fetchRequest, v2)).text(), /possible repository corruption/, "when none can");
});

test("beyond the limits a client is told that it is busy: before it uploads, and in git's words afterwards", async (t) => {
  const limits = { pushesMax: 1, pushQueueMax: 1, fetchesMax: 1, fetchQueueMax: 1, queueMs: 60_000 };
  const { cluster, post } = await withRepository(t, limits);
  const held: { finish: () => void }[] = [];
  for (const node of cluster.nodes) {
    node.behaviours.set("/git-upload-pack", (_call, response) => {
      response.writeHead(200);
      response.write("begun");
      held.push({ finish: () => response.end() });
    });
  }
  const first = await post(fetchRequest, v2);
  const second = post(fetchRequest, v2);
  const ask = (service: string) => fetch(`${cluster.url}/git/test/info/refs?service=${service}`);
  const refused = await until("the queue is full", async () => {
    const answer = await ask("git-upload-pack");
    return answer.status === 503 ? answer : undefined;
  });
  assert.equal(refused.headers.get("retry-after"), "1");
  assert.match(await refused.text(), /^too many requests wait for their turn \(fetch\); try again shortly\n$/);
  assert.match(await (await post(fetchRequest, v2)).text(), /^[0-9a-f]{4}ERR too many requests wait/);
  assert.equal((await ask("git-receive-pack")).status, 200, "pushes have a limit of their own");
  held[0]?.finish();
  assert.equal(await first.text(), "begun");
  await until("the next has its turn", () => held.length === 2);
  held[1]?.finish();
  assert.equal(await (await second).text(), "begun");
  assert.equal((await ask("git-upload-pack")).status, 200);
});

test("requests of fetches share a bounded memory", async (t) => {
  const { cluster, post } = await withRepository(t, { fetchRequestsBytesMax: 10_000 });
  assert.match(await (await post(Buffer.alloc(20_000, "0000"), v2)).text(), /all the memory that they may/);
  assert.equal((await post(flushPkt, v2)).status, 200, "what was taken is given back");
  assert.equal(cluster.node(0).callsTo("/git-upload-pack").length, 0);
});
