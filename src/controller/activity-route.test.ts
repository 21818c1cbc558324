/** Events and their stream, moves, drains, refs with commits, charts, through the whole controller. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { v7 as uuid } from "uuid";
import type { EventView, MetricsView, NodeReplicaView, PushView, RefsView } from "../protocol/activity-api.ts";
import type { NodeView, RepairView, RepositoryView } from "../protocol/public-api.ts";
import { EventReader } from "./testing/event-reader.ts";
import { json } from "./testing/fake-node.ts";
import { TestCluster, until } from "./testing/test-cluster.ts";

const streamPath = "/api/events/stream";
const parse = async <T>(answer: Response): Promise<T> => (await answer.json()) as T;

async function watch(t: TestContext, cluster: TestCluster, lastId?: string): Promise<EventReader> {
  const reader = await EventReader.open(cluster.url + streamPath, lastId);
  t.after(() => reader.close());
  return reader;
}

/** Pushes to a repository of fake nodes, past the controller. */
async function commit(cluster: TestCluster, id: string, names: readonly string[], oid: string): Promise<void> {
  const outcome = await cluster.store.commitRefs({
    repositoryId: id,
    pushId: uuid(),
    atomic: false,
    changes: names.map((name) => ({ name, oldOid: undefined, newOid: oid, peeled: undefined, fastForward: undefined })),
    stagedNodeIds: cluster.nodes.map((node) => node.id),
    copies: new Map(),
    seenGeneration: -1,
    writeQuorum: 2,
    committedMs: Date.now(),
    actor: "10.0.0.1",
    stagedMs: { [cluster.node(0).id]: 7 },
  });
  assert.equal(outcome.kind, "committed");
}

test("the stream: from now on, without a cursor; after it, with one", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 3 });
  const first = await watch(t, cluster);
  await until("it begins", () => first.of("cursor").length === 1);
  assert.deepEqual(first.messages.map(({ event }) => event).slice(0, 3), ["hello", "cursor", "work"]);
  await cluster.call("POST", "/api/repos/a");
  const created = await until("the event", () =>
    first.of("change").find(({ data }) => kindOf(data) === "repository-created"),
  );
  assert.equal((created.data as EventView).repository, "a");
  await until("the nodes", () => first.of("nodes").length > 0);
  await until("the cursor to follow", () => Number(first.lastId) >= (created.data as EventView).id);
  first.close();
  await cluster.call("PATCH", "/api/repos/a", { name: "b" });
  await cluster.call("DELETE", "/api/repos/b");
  const second = await watch(t, cluster, first.lastId);
  await until("what was missed", () => second.of("resumed").length === 1);
  assert.deepEqual(
    second.of("change").map(({ data }) => kindOf(data)),
    ["repository-renamed", "repository-deleted"],
  );
  const third = await watch(t, cluster, "999999");
  await until("a cursor that the store does not know", () => third.of("reset").length === 1);
});

test("pushes are told, and the stream ends when the controller stops", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 3 });
  const { id } = await parse<RepositoryView>(await cluster.call("POST", "/api/repos/team/a"));
  const reader = await watch(t, cluster);
  await until("it begins", () => reader.of("cursor").length === 1);
  await commit(cluster, id, ["refs/heads/master"], "1".repeat(40));
  const push = await until("the push", () => reader.of("push")[0]);
  assert.deepEqual((push.data as { repository: string; generation: number }).repository, "team/a");
  await commit(cluster, id, ["refs/heads/other"], "1".repeat(40));
  await until("the next push", () => reader.of("push").length === 2);
  const pushes = await parse<PushView[]>(await cluster.call("GET", "/api/pushes/team/a"));
  assert.deepEqual(
    pushes.map(({ generation, actor, refs }) => [generation, actor, refs[0]?.name]),
    [
      [2, "10.0.0.1", "refs/heads/other"],
      [1, "10.0.0.1", "refs/heads/master"],
    ],
  );
  assert.deepEqual(pushes[0]?.replicas, [{ nodeId: cluster.node(0).id, url: cluster.node(0).url, ms: 7 }]);
});

test("events by page, kind, repository and node", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 3 });
  for (const name of ["a", "b", "c"]) await cluster.call("POST", `/api/repos/${name}`);
  const list = async (query: string): Promise<EventView[]> =>
    parse<EventView[]>(await cluster.call("GET", `/api/events?${query}`));
  const created = await list("kind=repository-created&limit=2");
  assert.deepEqual(
    created.map(({ repository }) => repository),
    ["c", "b"],
  );
  const next = await list(`kind=repository-created&limit=2&before=${created[1]?.id ?? 0}`);
  assert.deepEqual(
    next.map(({ repository }) => repository),
    ["a"],
  );
  assert.deepEqual(
    (await list("repository=b")).map(({ kind }) => kind),
    ["repository-created"],
  );
  const node = cluster.node(1);
  const joined = await list(`node=${encodeURIComponent(node.url)}&kind=node-joined,node-dead`);
  assert.deepEqual(
    joined.map(({ nodeId, node: url }) => [nodeId, url]),
    [[node.id, node.url]],
  );
  assert.equal((await cluster.call("GET", "/api/events?kind=nonsense")).status, 400);
});

test("events of what is gone are found by the names that it had", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 2, settings: { replicas: 1 } });
  const { id } = await parse<RepositoryView>(await cluster.call("POST", "/api/repos/old"));
  await cluster.call("PATCH", "/api/repos/old", { name: "new" });
  const kindsBy = async (query: string): Promise<string[]> =>
    (await parse<EventView[]>(await cluster.call("GET", `/api/events?${query}`))).map(({ kind }) => kind);
  const soFar = ["repository-renamed", "repository-created"];
  assert.deepEqual(await kindsBy("repository=old"), soFar);
  await cluster.call("DELETE", "/api/repos/new");
  for (const name of ["old", "new", id]) {
    assert.deepEqual(await kindsBy(`repository=${name}`), ["repository-deleted", ...soFar], name);
  }
  const gone = cluster.node(1);
  await cluster.kill(gone);
  await until("it can be removed", async () => (await cluster.call("DELETE", `/api/nodes/${gone.id}`)).status === 204);
  for (const name of [gone.id, gone.url, `${gone.url}/`, new URL(gone.url).host]) {
    assert.equal((await kindsBy(`node=${encodeURIComponent(name)}`))[0], "node-removed", name);
  }
});

test("a move is listed as work, and can be cancelled", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 3, settings: { replicas: 2, repairIntervalMs: 600_000 } });
  const created = await parse<RepositoryView>(await cluster.call("POST", "/api/repos/a"));
  const [from = ""] = created.nodes.map(({ url }) => url);
  const to = cluster.nodes.find(({ url }) => created.nodes.every((replica) => replica.url !== url))?.url ?? "";
  assert.equal((await cluster.call("POST", "/api/moves/a", { from, to })).status, 202);
  const { work } = await parse<RepairView>(await cluster.call("GET", "/api/repair"));
  const move = work.find(({ step }) => step === "move");
  assert.deepEqual([move?.url, move?.to, move?.status, move?.progress], [from, to, "READY", -1]);
  const cancel = (node: string) =>
    cluster.call("DELETE", `/api/moves/a?from=${encodeURIComponent(new URL(node).host)}`);
  assert.equal((await cancel(to)).status, 409);
  assert.equal((await cancel(from)).status, 204);
  assert.equal((await cancel(from)).status, 409);
  const after = await parse<RepairView>(await cluster.call("GET", "/api/repair"));
  assert.ok(after.work.every(({ step }) => step !== "move"));
});

test("a node that dies and returns is an event each", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 2, settings: { replicas: 1 } });
  await cluster.kill(cluster.node(1));
  const kinds = async (): Promise<string[]> =>
    (await parse<EventView[]>(await cluster.call("GET", `/api/events?node=${cluster.node(1).id}`))).map(
      ({ kind }) => kind,
    );
  await until("its death", async () => (await kinds())[0] === "node-dead");
  await cluster.revive(cluster.node(1));
  await until("its return", async () => (await kinds())[0] === "node-alive");
  assert.deepEqual(await kinds(), ["node-alive", "node-dead", "node-joined"]);
});

test("a drained node's replicas go elsewhere; a move goes where it is to", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 4, settings: { replicas: 2 } });
  const created = await parse<RepositoryView>(await cluster.call("POST", "/api/repos/a"));
  const on = async (): Promise<string[]> => {
    const view = await parse<RepositoryView>(await cluster.call("GET", "/api/repos/a"));
    return view.nodes
      .filter(({ status }) => status === "READY")
      .map(({ url }) => url)
      .toSorted();
  };
  const [from = "", stays = ""] = created.nodes.map(({ url }) => url);
  const others = cluster.nodes.map(({ url }) => url).filter((url) => url !== from && url !== stays);
  const [to = "", last = ""] = others;
  const move = (body: object) => cluster.call("POST", "/api/moves/a", body);
  assert.equal((await move({ from: to })).status, 409);
  assert.equal((await move({ from, to: stays })).status, 409);
  assert.equal((await move({ from, to: "http://nowhere" })).status, 404);
  assert.equal((await move({ from, to: new URL(to).host })).status, 202);
  await until("the move", async () => (await on()).join() === [stays, to].toSorted().join());
  const leftNode = cluster.nodes.find(({ url }) => url === from);
  await until("the copy to be moved aside", async () => leftNode?.callsTo("_retire").length === 1);

  const drain = (url: string, word = "_drain") => cluster.call("POST", `/api/nodes/${encodeURIComponent(url)}/${word}`);
  const drained = await parse<NodeView>(await drain(stays));
  assert.equal(drained.draining, true);
  await drain(from);
  await until("the drain", async () => (await on()).join() === [last, to].toSorted().join());
  const left = await cluster.call("GET", `/api/nodes/${encodeURIComponent(stays)}/replicas`);
  assert.deepEqual(await parse<NodeReplicaView[]>(left), []);
  // Nowhere to go: it stays, and that is said.
  await drain(to);
  await until("it is stuck", async () => {
    const events = await parse<EventView[]>(await cluster.call("GET", "/api/events?kind=repair-stuck"));
    return events.length === 1 && /no repository server has room/.test(events[0]?.detail ?? "");
  });
  assert.deepEqual(await on(), [last, to].toSorted());
  assert.equal((await parse<NodeView>(await drain(to, "_undrain"))).draining, false);
  assert.equal((await drain("http://nowhere")).status, 404);
});

test("refs with what a node says of their commits", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 3 });
  const { id } = await parse<RepositoryView>(await cluster.call("POST", "/api/repos/a"));
  const oid = "1".repeat(40);
  await commit(cluster, id, ["refs/heads/ä", "refs/heads/b", "refs/heads/c/d", "refs/tags/v1"], oid);
  for (const node of cluster.nodes) {
    node.behaviours.set("/_commits", (_call, response) =>
      json(response, 200, {
        commits: [{ oid, author: "Ada", email: "a@x", authoredS: 5, subject: "First" }],
      }),
    );
  }
  const refs = async (query: string): Promise<RefsView> =>
    parse<RefsView>(await cluster.call("GET", `/api/refs/a?${query}`));
  const page = await refs("kind=branches&limit=2");
  assert.deepEqual(
    page.items.map(({ name }) => name),
    ["b", "c/d"],
  );
  assert.deepEqual(page.items[0]?.commit, { id: oid, author: "Ada", email: "a@x", at: 5000, subject: "First" });
  assert.deepEqual([page.total, page.commits], [3, true]);
  const next = await refs(`kind=branches&limit=2&cursor=${page.next ?? ""}`);
  assert.equal(next.items.length, 1);
  assert.equal(next.next, null);
  assert.deepEqual(
    (await refs("kind=branches&contains=d")).items.map(({ name }) => name),
    ["c/d"],
  );
  assert.deepEqual(
    (await refs("kind=tags")).items.map(({ name }) => name),
    ["v1"],
  );
  for (const node of cluster.nodes) node.behaviours.set("/_commits", (_call, response) => json(response, 500, {}));
  const without = await refs("kind=tags");
  assert.deepEqual([without.commits, without.items[0]?.commit], [false, null]);
  assert.equal((await cluster.call("GET", "/api/refs/nothing?kind=tags")).status, 404);
  assert.equal((await cluster.call("GET", "/api/refs/a?kind=tags&cursor=x")).status, 400);
});

test("charts and counts answer before anything was counted", async (t) => {
  const cluster = await TestCluster.start(t, { nodes: 3 });
  const view = await parse<MetricsView>(await cluster.call("GET", "/api/metrics"));
  assert.deepEqual([view.at.length, view.pushes.at(-1), view.pushMedianMs.at(-1)], [120, 0, null]);
  assert.equal((await cluster.call("GET", `/api/nodes/${cluster.node(0).id}/metrics?minutes=5`)).status, 200);
  assert.equal((await cluster.call("GET", "/api/metrics?minutes=1")).status, 400);
  for (const name of ["a", "b", "ab"]) await cluster.call("POST", `/api/repos/${name}`);
  const counted = await cluster.call("GET", "/api/repos?contains=b&limit=1&count=true");
  assert.equal(counted.headers.get("x-total-count"), "2");
  assert.match(counted.headers.get("link") ?? "", /rel="next"/);
  assert.deepEqual(await parse(await cluster.call("GET", "/api/work")), []);
});

function kindOf(data: unknown): string {
  return (data as EventView).kind;
}
