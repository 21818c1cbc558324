import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import type { ClusterView, NodeView, RepositoryView } from "../protocol/public-api.ts";
import { json, type FakeCall, type FakeNode } from "./testing/fake-node.ts";
import { TestCluster, until } from "./testing/test-cluster.ts";

const creations = (node: FakeNode): readonly FakeCall[] =>
  node.callsTo("/replicas").filter(({ method }) => method === "POST");
const parse = async <T>(answer: Response): Promise<T> => (await answer.json()) as T;
type Problem = { code: string; detail: string; status: number; errors?: unknown[] };

test("a repository is created, shown, listed, changed and deleted", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 3 });
  const created = await cluster.call("POST", "/api/repos/team/site", {
    description: "ours",
    defaultBranch: "main",
    replicas: 2,
  });
  assert.equal(created.status, 201);
  assert.equal(created.headers.get("location"), "/api/repos/team/site");
  const view = await parse<RepositoryView>(created);
  assert.equal(view.name, "team/site");
  assert.equal(view.cloneUrl, `${cluster.url}/git/team/site.git`);
  assert.equal(view.defaultBranch, "main");
  assert.deepEqual([view.timestamp, view.generation, view.nodes.length], [-1, 0, 2]);
  assert(view.nodes.every(({ status }) => status === "READY"));
  assert.equal(view.primaryNode, view.nodes[0]?.url);
  const made = cluster.nodes.filter((node) => creations(node).length === 1);
  assert.equal(made.length, 2);
  assert.deepEqual(JSON.parse(made.map(creations)[0]?.[0]?.body.toString() ?? ""), {
    id: view.id,
    name: "team/site",
    objectFormat: "sha1",
    defaultBranch: "refs/heads/main",
    description: "ours",
  });

  assert.deepEqual(await parse(await cluster.call("GET", "/api/repos/team/site")), view);
  assert.deepEqual(await parse(await cluster.call("GET", "/api/repos?contains=site")), [view]);
  assert.deepEqual(await parse(await cluster.call("GET", "/api/repos?contains=zzz")), []);
  assert.equal((await cluster.call("POST", "/api/repos/team/site")).status, 409);

  const patched = await cluster.call("PATCH", "/api/repos/team/site", {
    name: "web",
    defaultBranch: "refs/heads/trunk",
    denyDeletes: true,
  });
  assert.equal(patched.status, 200);
  const changed = await parse<RepositoryView>(patched);
  assert.deepEqual([changed.name, changed.defaultBranch, changed.denyDeletes], ["web", "trunk", true]);
  for (const node of made) {
    const told = JSON.parse(node.calls.findLast(({ method }) => method === "PATCH")?.body.toString() ?? "");
    assert.deepEqual([told.name, told.defaultBranch], ["web", "refs/heads/trunk"]);
  }
  assert.equal((await cluster.call("GET", "/api/repos/team/site")).status, 404);

  assert.equal((await cluster.call("DELETE", "/api/repos/web")).status, 204);
  for (const node of made) assert.equal(node.callsTo(`${view.id}/_retire`).length, 1);
  assert.equal((await cluster.call("DELETE", "/api/repos/web")).status, 404);
  assert.equal((await cluster.call("POST", "/api/repos/other")).status, 201);
  assert.equal((await cluster.call("POST", "/api/repos/other/_delete")).status, 204);
  assert.equal((await cluster.call("POST", "/api/repos/other/_delete")).status, 404);
});

test("bodies: none in any form, JSON, and nothing else", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 3 });
  const post = async (name: string, body: string | undefined, type?: string) => {
    const headers: Record<string, string> = type === undefined ? {} : { "content-type": type };
    const answer = await fetch(`${cluster.url}/api/repos/${name}`, {
      method: "POST",
      headers,
      ...(body === undefined ? {} : { body }),
    });
    return { status: answer.status, problem: await parse<Problem>(answer) };
  };
  const form = "application/x-www-form-urlencoded";
  assert.equal((await post("a", undefined)).status, 201);
  assert.equal((await post("b", "", form)).status, 201);
  assert.equal((await post("c", "", "application/json")).status, 201);
  assert.equal((await post("d", "null", "application/json")).status, 201);
  assert.equal((await post("e", '{"objectFormat":"sha256"}', "application/json; charset=utf-8")).status, 201);
  assert.equal((await post("f", "replicas=2", form)).status, 415);
  assert.equal((await post("f", "{", "application/json")).status, 400);
  assert.equal((await post("f", '{"__proto__":{"replicas":1}}', "application/json")).status, 400);
  assert.equal((await post("f", JSON.stringify({ description: "x".repeat(100_000) }), "application/json")).status, 413);
  const { status, problem } = await post(
    "f",
    '{"replicas":0,"defaultBranch":"a..b","colour":"red"}',
    "application/json",
  );
  assert.equal(status, 400);
  assert.equal(problem.errors?.length, 3, problem.detail);
  assert.match(problem.detail, /colour/);
  assert.match(problem.detail, /two dots/);
});

test("names that hide something are refused as they come", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 1, settings: { replicas: 1 } });
  const status = (path: string) =>
    new Promise<string>((resolve, reject) => {
      const socket = connect(Number(new URL(cluster.url).port), "127.0.0.1");
      socket.on("error", reject);
      socket.once("data", (chunk: Buffer) => {
        resolve(chunk.toString().slice(9, 12));
        socket.destroy();
      });
      socket.write(`POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n`);
    });
  const bad = [
    "..",
    "../x",
    "a/../b",
    "a//b",
    "a%2fb",
    "a%2Fb",
    "%2e%2e/x",
    "a/%2E%2E",
    "a%00",
    "a%",
    "a%zz",
    "a.git",
    "a.lock",
    ".a",
    "-a",
    "a%20b",
    "é",
    "",
  ];
  for (const name of bad) assert.equal(await status(`/api/repos/${name}`), "400", name);
  assert.equal(await status("/api/repos/a%2Db"), "201");
  assert.notEqual(await cluster.store.findRepository("a-b"), undefined);
  assert.equal((await cluster.call("PATCH", "/api/repos/a-b", { name: "../b" })).status, 400);
});

test("a list has pages", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 1, settings: { replicas: 1 } });
  for (const name of ["a", "b", "c", "d", "e"]) await cluster.call("POST", `/api/repos/${name}`);
  const names: string[] = [];
  let pages = 0;
  for (let next: string | undefined = "/api/repos?limit=2&sort=-name"; next !== undefined; pages += 1) {
    const answer = await cluster.call("GET", next);
    names.push(...(await parse<RepositoryView[]>(answer)).map(({ name }) => name));
    next = /^<([^>]+)>; rel="next"$/.exec(answer.headers.get("link") ?? "")?.[1];
  }
  assert.deepEqual([names.join(""), pages], ["edcba", 3]);
  assert.equal((await cluster.call("GET", "/api/repos?limit=0&state=odd")).status, 400);
});

test("creating: too few nodes, a node that is down, one that fails", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 3, settings: { repairIntervalMs: 60_000 } });
  const tooMany = await cluster.call("POST", "/api/repos/big", { replicas: 4 });
  assert.deepEqual([tooMany.status, (await parse<Problem>(tooMany)).code], [503, "not-enough-nodes"]);
  cluster
    .node(0)
    .behaviours.set("/replicas", (_call, response) => json(response, 503, { code: "busy", detail: "busy" }));
  const partly = await parse<RepositoryView>(await cluster.call("POST", "/api/repos/partly"));
  assert.equal(partly.nodes.map(({ status }) => status).join(), "READY,READY,STALE");
  assert.equal(partly.nodes[2]?.nodeId, cluster.node(0).id);
  const spare = await parse<RepositoryView>(await cluster.call("POST", "/api/repos/spare", { replicas: 2 }));
  assert.equal(spare.nodes.map(({ status }) => status).join(), "READY,READY", "the next node takes its place");
  await cluster.kill(cluster.node(1));
  const failed = await cluster.call("POST", "/api/repos/failed");
  assert.equal(failed.status, 503);
  assert.equal(await cluster.store.findRepository("failed"), undefined);
  await until("what was made is moved aside", () => cluster.node(2).callsTo("/_retire").length === 1);
});

test("of two creations of one name at once, one wins and leaves no directory of the other", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 3 });
  const answers = await Promise.all([1, 2, 3, 4].map(() => cluster.call("POST", "/api/repos/one")));
  assert.deepEqual(
    answers.map(({ status }) => status).toSorted((one, other) => one - other),
    [201, 409, 409, 409],
  );
  const made = creations(cluster.node(0)).length;
  assert.equal(cluster.node(0).callsTo("/_retire").length, made - 1);
});

test("a replica that misses a new default branch is told again; it is changed without any of them too", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 3 });
  const { id } = await parse<RepositoryView>(await cluster.call("POST", "/api/repos/test"));
  const node = cluster.node(0);
  const changes: string[] = [];
  node.behaviours.set(id, (call, response) => {
    if (call.method === "PATCH") changes.push(call.body.toString());
    if (changes.length > 1) response.writeHead(204).end();
    else json(response, 500, { code: "internal", detail: "no" });
  });
  node.behaviours.set("/replicas", (_call, response) =>
    json(response, 200, { replicas: [{ id, name: "test", defaultBranch: "refs/heads/master" }] }),
  );
  const changed = await parse<RepositoryView>(
    await cluster.call("PATCH", "/api/repos/test", { defaultBranch: "main" }),
  );
  assert.equal(changed.defaultBranch, "main");
  await until("it is told again", () => changes.length > 1);
  assert.match(changes.at(-1) ?? "", /"defaultBranch":"refs\/heads\/main"/);
  for (const each of cluster.nodes) await cluster.kill(each);
  assert.equal((await cluster.call("PATCH", "/api/repos/test", { defaultBranch: "x" })).status, 200);
  assert.equal((await cluster.store.getRepository(id))?.repository.defaultBranch, "refs/heads/x");
});

test("nodes are shown by id, address and URL, and forgotten only when they are dead and spare", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 3, settings: { repairIntervalMs: 60_000 } });
  await cluster.call("POST", "/api/repos/test");
  const node = cluster.node(0);
  const list = await parse<NodeView[]>(await cluster.call("GET", "/api/nodes"));
  assert.equal(list.length, 3);
  for (const { state, repos } of list) assert.deepEqual([state, repos], ["ALIVE", [{ name: "test", status: "READY" }]]);
  assert.deepEqual((await parse<NodeView[]>(await cluster.call("GET", "/api/nodes?repos=false")))[0]?.repos, []);
  for (const key of [node.id, new URL(node.url).host, encodeURIComponent(node.url)]) {
    assert.equal((await parse<NodeView>(await cluster.call("GET", `/api/nodes/${key}`))).id, node.id);
  }
  assert.equal((await cluster.call("GET", "/api/nodes/nope")).status, 404);
  assert.equal((await cluster.call("DELETE", `/api/nodes/${node.id}?force=true`)).status, 409, "it is alive");
  await cluster.kill(node);
  const isDead = async () =>
    (await parse<NodeView>(await cluster.call("GET", `/api/nodes/${node.id}`))).state === "DEAD";
  await until("it is dead", isDead);
  const refused = await cluster.call("DELETE", `/api/nodes/${node.id}`);
  assert.deepEqual([refused.status, (await parse<Problem>(refused)).code], [409, "node-in-use"]);
  assert.equal((await cluster.call("DELETE", `/api/nodes/${node.id}?force=true`)).status, 204);
  assert.equal((await parse<NodeView[]>(await cluster.call("GET", "/api/nodes"))).length, 2);
});

test("the state of the cluster, health, readiness and the OpenAPI document", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 2 });
  await cluster.call("POST", "/api/repos/test", { replicas: 2 });
  const view = await parse<ClusterView>(await cluster.call("GET", "/api/cluster"));
  assert.deepEqual(view.store, { engine: "SQLite", ok: true });
  assert.deepEqual(view.nodes, { total: 2, alive: 2, suspect: 0, dead: 0 });
  assert.deepEqual(view.repositories, { total: 1, degraded: 0, behind: 0, wantedLeast: 2, wantedMost: 2 });
  assert.equal(view.repair.leader, true);
  assert.equal((await cluster.call("GET", "/healthz")).status, 200);
  assert.equal((await cluster.call("GET", "/readyz")).status, 200);
  assert.equal((await cluster.call("GET", "/api/nothing")).status, 404);
  const document = await parse<{
    openapi: string;
    paths: Record<string, Record<string, { parameters?: unknown[]; responses: Record<string, { content?: object }> }>>;
  }>(await cluster.call("GET", "/api/openapi.json"));
  assert.equal(document.openapi, "3.1.0");
  assert.deepEqual(Object.keys(document.paths).toSorted(), [
    "/api/adoptions",
    "/api/adoptions/{name}",
    "/api/cluster",
    "/api/cluster/dataloss",
    "/api/events",
    "/api/events/stream",
    "/api/metrics",
    "/api/moves/{name}",
    "/api/nodes",
    "/api/nodes/{id}",
    "/api/nodes/{id}/_drain",
    "/api/nodes/{id}/_undrain",
    "/api/nodes/{id}/metrics",
    "/api/nodes/{id}/replicas",
    "/api/pushes/{name}",
    "/api/refs/{name}",
    "/api/repair",
    "/api/repair/copies",
    "/api/repos",
    "/api/repos/{name}",
    "/api/repos/{name}/_delete",
    "/api/work",
    "/healthz",
    "/readyz",
  ]);
  const repository = document.paths["/api/repos/{name}"];
  assert.deepEqual(Object.keys(repository ?? {}).toSorted(), ["delete", "get", "patch", "post"]);
  assert.match(JSON.stringify(repository?.["get"]?.parameters), /"name":"name"/);
  assert.deepEqual(Object.keys(repository?.["get"]?.responses["404"]?.content ?? {}), ["application/problem+json"]);
});
