/** The console's page, served for a controller that is made up here. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, beforeEach, test } from "node:test";
import { systemClock } from "../base/clock.ts";
import { createLogger } from "../base/log.ts";
import type { ClusterView, NodeView, RepositoryView } from "../protocol/public-api.ts";
import { startConsole, type RunningConsole } from "./server.ts";

const evil = `<script>alert("1")</script>'&`;
const escaped = "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39;&amp;";

const cluster: ClusterView = {
  version: "1.2.3",
  controller: "controller-1",
  store: { engine: "SQLite", ok: true },
  nodes: { total: 2, alive: 1, suspect: 0, dead: 1 },
  repositories: { total: 101, degraded: 1 },
  repair: { leader: true, running: [] },
};
const node: NodeView = {
  id: "n1",
  url: "http://127.0.0.1:8082",
  state: "ALIVE",
  timestamp: 0,
  registeredAt: 0,
  diskUsage: 0.231,
  diskFree: 1,
  version: "1.2.3",
  repos: [],
};
const repository: RepositoryView = {
  id: "r1",
  name: evil,
  description: evil,
  cloneUrl: "http://localhost/git/x.git",
  objectFormat: "sha1",
  defaultBranch: "main",
  replicas: 2,
  denyDeletes: false,
  denyNonFastForwards: false,
  timestamp: Date.UTC(2026, 10, 24, 12),
  createdAt: 0,
  generation: 7,
  aheadGeneration: -1,
  size: 1_500_000,
  primaryNode: node.url,
  nodes: [
    { url: node.url, status: "READY", generation: 7, nodeId: "n1", reason: "", size: 1, verifiedAt: -1 },
    {
      url: "http://127.0.0.1:8083",
      status: "STALE",
      generation: 6,
      nodeId: "n2",
      reason: evil,
      size: 1,
      verifiedAt: -1,
    },
  ],
};

let answers: Record<string, unknown>;
let controller: Server;
let console_: RunningConsole;

before(async () => {
  controller = createServer((request, response) => {
    const answer = answers[(request.url ?? "").split("?")[0] ?? ""];
    response.writeHead(answer === undefined ? 503 : 200).end(JSON.stringify(answer ?? {}));
  });
  controller.listen(0, "127.0.0.1");
  await once(controller, "listening");
  const { port } = controller.address() as AddressInfo;
  console_ = await startConsole(
    {
      name: "console",
      logLevel: "silent",
      shutdownMs: 1000,
      listen: "127.0.0.1:0",
      // Nobody listens on port 1: the page is to come from the other one.
      controllers: ["http://127.0.0.1:1", `http://127.0.0.1:${port}`],
    },
    { log: createLogger("console", "silent"), clock: systemClock },
  );
});

beforeEach(() => {
  answers = { "/api/cluster": cluster, "/api/nodes": [node], "/api/repos": [repository] };
});

after(async () => {
  await console_.close();
  controller.close();
});

async function page(): Promise<{ status: number; text: string; headers: Headers }> {
  const response = await fetch(console_.url);
  return { status: response.status, text: await response.text(), headers: response.headers };
}

test("health, repositories and nodes are on the page, every value escaped", async () => {
  const { status, text } = await page();
  assert.equal(status, 200);
  assert.match(
    text,
    /1 repository has fewer complete replicas than wanted\. 1 of 2 repository servers does not answer\./,
  );
  assert.match(text, /class="mark ready" title="READY on http:\/\/127\.0\.0\.1:8082"/);
  assert.ok(text.includes(`title="STALE on http://127.0.0.1:8083: ${escaped}"`));
  assert.ok(text.includes(`<th scope="row">${escaped}<br>`));
  assert.doesNotMatch(text, /<script|alert\("/);
  assert.match(text, /1\.5 MB/);
  assert.match(text, /2026-11-24 12:00:00 UTC/);
  assert.match(text, /100 more are not shown/);
  assert.match(text, /23 %/);
  assert.match(text, /api\/openapi\.json/);
});

test("a cluster without a repository says what to type", async () => {
  answers["/api/repos"] = [];
  answers["/api/cluster"] = { ...cluster, repositories: { total: 0, degraded: 0 } };
  const { text } = await page();
  assert.match(text, /There are no repositories yet\./);
  assert.match(text, /curl -XPOST http:\/\/127\.0\.0\.1:\d+\/api\/repos\/test/);
});

test("a controller without its store still tells what it knows", async () => {
  answers = { "/api/cluster": { ...cluster, store: { engine: "MySQL", ok: false }, repositories: null } };
  const { status, text } = await page();
  assert.equal(status, 200);
  assert.match(text, /The metadata store does not answer\./);
  assert.match(text, /Unknown at the moment/);
});

test("no controller: said clearly, with each reason, and not as a success", async () => {
  answers = {};
  const { status, text } = await page();
  assert.equal(status, 503);
  assert.match(text, /No controller answers\./);
  assert.match(text, /http:\/\/127\.0\.0\.1:1: .*ECONNREFUSED/);
  assert.match(text, /it answered with status 503/);
});

test("the page needs no script and may load nothing but its style", async () => {
  const { headers, text } = await page();
  const policy = headers.get("content-security-policy") ?? "";
  assert.match(policy, /default-src 'none'; style-src 'self'/);
  assert.doesNotMatch(policy, /unsafe/);
  assert.equal(headers.get("x-content-type-options"), "nosniff");
  assert.equal(headers.get("cache-control"), "no-store");
  assert.doesNotMatch(text, /style=|<style|<script|onclick/);
  const style = await fetch(`${console_.url}/style.css`);
  assert.equal(style.headers.get("content-type"), "text/css; charset=utf-8");
  assert.match(await style.text(), /light-dark/);
  for (const path of ["/healthz", "/readyz"]) assert.equal((await fetch(console_.url + path)).status, 200);
  const nothing = await fetch(`${console_.url}/nothing`);
  assert.equal(nothing.status, 404);
  assert.equal(nothing.headers.get("x-content-type-options"), "nosniff");
});
