/** REST: nodes, the cluster, health, the OpenAPI document, the console's page. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { NodeView, Problem } from "../support/api.ts";
import { callApi } from "../support/api.ts";
import { startCluster } from "../support/cluster.ts";

const cluster = await startCluster();
after(() => cluster.stop());

test("GET /api/nodes: URL, last heartbeat, disk use, state, replicas", async () => {
  await cluster.create("on-nodes");
  const nodes = await cluster.nodes();
  assert.deepEqual(
    nodes.map(({ url }) => url).toSorted(),
    cluster.nodeNames().map((node) => cluster.nodeUrl(node)),
  );
  for (const node of nodes) {
    assert.equal(node.state, "ALIVE");
    assert.ok(Math.abs(Date.now() - node.timestamp) < 20_000, `heartbeat at ${node.timestamp}`);
    assert.ok(node.diskUsage >= 0 && node.diskUsage <= 1);
    assert.deepEqual(node.repos, [{ name: "on-nodes", status: "READY" }]);
  }
});

test("GET /api/nodes/ID, and 404 for one that is not there", async () => {
  for (const { id, url } of await cluster.nodes()) {
    const answer = await cluster.api("GET", `/api/nodes/${id}`);
    assert.equal(answer.status, 200);
    assert.equal((answer.body as NodeView).url, url);
  }
  const answer = await cluster.api("GET", "/api/nodes/00000000-0000-7000-8000-000000000000");
  assert.equal(answer.status, 404);
  assert.equal((answer.body as Problem).status, 404);
});

test("a live node cannot be removed", async () => {
  const [node] = await cluster.nodes();
  const answer = await cluster.api("DELETE", `/api/nodes/${node?.id ?? ""}`);
  assert.equal(answer.status, 409);
  assert.equal((await cluster.nodes()).length, 3);
});

test("GET /api/cluster: store, nodes, repositories", async () => {
  const answer = await cluster.api("GET", "/api/cluster");
  assert.equal(answer.status, 200);
  const view = answer.body as {
    store: { engine: string; ok: boolean };
    nodes: { total: number; alive: number };
    repositories: { total: number; degraded: number };
  };
  assert.deepEqual(view.store, { engine: "SQLite", ok: true });
  assert.equal(view.nodes.total, 3);
  assert.equal(view.nodes.alive, 3);
  assert.ok(view.repositories.total >= 1);
  assert.equal(view.repositories.degraded, 0);
});

test("/healthz and /readyz on every server", async () => {
  const urls = [cluster.url, cluster.consoleUrl, ...cluster.nodeNames().map((node) => cluster.nodeUrl(node))];
  for (const url of urls) {
    for (const path of ["/healthz", "/readyz"])
      assert.equal((await callApi(url + path, "GET")).status, 200, url + path);
  }
});

test("the OpenAPI document is served, and has every call", async () => {
  const answer = await cluster.api("GET", "/api/openapi.json");
  assert.equal(answer.status, 200);
  const document = answer.body as {
    openapi: string;
    info: { title: string; version: string };
    paths: Record<string, Record<string, { responses?: Record<string, unknown> }>>;
  };
  assert.match(document.openapi, /^3\.[01]\./);
  assert.ok(document.info.title.length > 0 && document.info.version.length > 0);
  const calls = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => {
      const statuses = Object.keys(operation.responses ?? {});
      assert.ok(statuses.length > 0, `${method} ${path} has no answers`);
      assert.ok(
        statuses.every((status) => /^(?:[1-5](?:\d\d|XX)|default)$/.test(status)),
        statuses.join(" "),
      );
      return `${method.toUpperCase()} ${path.replaceAll(/\{[^}]+\}/g, "*")}`;
    }),
  );
  const expected = [
    "GET /api/repos",
    "POST /api/repos/*",
    "GET /api/repos/*",
    "PATCH /api/repos/*",
    "DELETE /api/repos/*",
  ];
  expected.push("POST /api/repos/*/_delete", "GET /api/nodes", "GET /api/nodes/*", "GET /api/cluster");
  for (const call of expected) assert.ok(calls.includes(call), `${call} is not in: ${calls.join(", ")}`);
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map((match) => match[1] ?? "");
  for (const reference of references) {
    const target = reference
      .split("/")
      .reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], document);
    assert.ok(target !== undefined, `#/${reference} leads nowhere`);
  }
});

test("the console's page and the API under one address, and nothing from other hosts", async () => {
  const answer = await fetch(cluster.consoleUrl);
  const page = await answer.text();
  assert.equal(answer.status, 200);
  assert.match(answer.headers.get("content-type") ?? "", /^text\/html/);
  assert.ok(!/(?:src|href)="https?:/.test(page), page);
  const nodes = (await callApi(`${cluster.consoleUrl}/api/nodes`, "GET")).body as NodeView[];
  assert.deepEqual(
    nodes.map(({ url }) => url),
    cluster.nodeNames().map((node) => cluster.nodeUrl(node)),
  );
});

test("each answer has a request id, and keeps the client's", async () => {
  const own = await fetch(`${cluster.url}/api/cluster`);
  assert.match(own.headers.get("x-request-id") ?? "", /^[A-Za-z0-9-]{8,}$/);
  const given = await fetch(`${cluster.url}/api/cluster`, { headers: { "x-request-id": "from-the-client" } });
  assert.equal(given.headers.get("x-request-id"), "from-the-client");
  await Promise.all([own.text(), given.text()]);
});
