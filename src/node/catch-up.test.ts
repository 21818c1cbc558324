import assert from "node:assert/strict";
import { createServer } from "node:http";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { nodePaths, type RefUpdate } from "../protocol/node-api.ts";
import { until, type NodeApiClient } from "./testing/node-api-client.ts";
import { git, type SourceRepository } from "./testing/source-repository.ts";
import { TestNodes } from "./testing/test-node.ts";

type Refs = (readonly [string, string])[];

const nodes = new TestNodes();
let full: NodeApiClient;
let behind: NodeApiClient;
let source: SourceRepository;

before(async () => {
  full = await nodes.start("full");
  behind = await nodes.start("behind");
  source = nodes.source();
});

after(() => nodes.close());

async function push(id: string, generation: number, pack: Buffer, updates: readonly RefUpdate[]): Promise<void> {
  const tips = updates.flatMap(([, oid]) => (oid === null ? [] : [oid]));
  assert.equal((await full.stage(id, pack, ...new Set(tips))).kind, "staged");
  assert.equal((await full.apply(id, generation - 1, generation, updates)).status, 200);
}

function refs(client: NodeApiClient, id: string): string {
  return git(client.replica(id), ["for-each-ref", "--format=%(refname) %(objectname)"]).toString();
}

/** Equal refs, every object, nothing left over. */
function isLikeSource(id: string): void {
  assert.equal(refs(behind, id), refs(full, id));
  git(behind.replica(id), ["fsck", "--full", "--connectivity-only"]);
  assert.deepEqual(behind.leftovers(id), []);
}

test("from nothing, in both object formats, tags included", async () => {
  for (const format of ["sha1", "sha256"] as const) {
    const origin = nodes.source(`of-${format}`, format);
    const id = await full.create(format);
    const oid = origin.commit("one", randomBytes(100_000));
    origin.text("tag", "-a", "-m", "a tag", "v1");
    const wanted: Refs = [
      ["refs/heads/master", oid],
      ["refs/tags/v1", origin.text("rev-parse", "v1")],
    ];
    await push(
      id,
      1,
      origin.pack(...wanted.map(([, value]) => value)),
      wanted.map(([name, value]): RefUpdate => [name, value]),
    );
    const caughtUp = await behind.catchUp(id, 1, full.gitUrl(id), wanted, format);
    assert.deepEqual(caughtUp, { kind: "caught-up", generation: 1 });
    isLikeSource(id);
    assert.ok(!existsSync(join(behind.replica(id), "gitmesh.damaged")));
    const config = git(behind.replica(id), ["rev-parse", "--show-object-format"]).toString().trim();
    assert.equal(config, format);
  }
});

test("5,000 refs, then deletes, changes, and directories in the place of refs", async () => {
  const id = await full.create();
  const first = source.commit("many-1");
  const second = source.commit("many-2");
  const many: Refs = Array.from({ length: 5000 }, (_value, index) => [`refs/tags/t${index}`, first]);
  await push(id, 1, source.pack(second), [
    ["refs/heads/a", second],
    ...many.map(([name, oid]): RefUpdate => [name, oid]),
  ]);
  const all: Refs = [["refs/heads/a", second], ...many];
  assert.equal((await behind.catchUp(id, 1, full.gitUrl(id), all))["kind"], "caught-up");
  isLikeSource(id);
  const third = source.commit("many-3");
  const changes: RefUpdate[] = [
    ["refs/heads/a", null],
    ["refs/heads/a/b", third],
    ["refs/tags/t1", third],
    ["refs/tags/t2", null],
  ];
  await push(id, 2, source.pack(third, `^${second}`), changes);
  const now: Refs = [
    ["refs/heads/a/b", third],
    ["refs/tags/t1", third],
    ...many.filter(([name]) => !/\/t[12]$/.test(name)),
  ];
  assert.deepEqual(await behind.catchUp(id, 2, full.gitUrl(id), now), { kind: "caught-up", generation: 2 });
  isLikeSource(id);
});

test("refs without a recorded generation vouch for nothing", async () => {
  const id = await full.create();
  const oid = source.commit("trust");
  await push(id, 1, source.pack(oid), [["refs/heads/x", oid]]);
  const list: Refs = [["refs/heads/x", oid]];
  await behind.catchUp(id, 1, full.gitUrl(id), list);
  // The record is lost and an object with it.
  const { client, stop } = await nodes.startStoppable("lost");
  await client.catchUp(id, 1, full.gitUrl(id), list);
  await stop();
  rmSync(join(client.replica(id), "gitmesh.json"));
  const tree = source.text("rev-parse", `${oid}^{tree}`);
  const packs = join(client.replica(id), "objects", "pack");
  const content = readdirSync(packs).filter((name) => name.endsWith(".pack"))[0] ?? "";
  const bytes = readFileSync(join(packs, content));
  rmSync(packs, { recursive: true });
  git(client.replica(id), ["unpack-objects", "-q"], bytes);
  rmSync(join(client.replica(id), "objects", tree.slice(0, 2), tree.slice(2)), { force: true });
  const again = await nodes.start("lost");
  assert.deepEqual(await again.catchUp(id, 1, full.gitUrl(id), list), { kind: "caught-up", generation: 1 });
  git(again.replica(id), ["fsck", "--full"]);
});

test("a source that does not have the objects, redirects or is none, changes nothing", async () => {
  const id = await full.create();
  const oid = source.commit("elsewhere");
  const header: Refs = [["refs/heads/x", oid]];
  const redirecting = createServer((_request, response) => {
    response.writeHead(302, { location: full.gitUrl(id) }).end();
  });
  redirecting.listen(0, "127.0.0.1");
  await once(redirecting, "listening");
  const sources = [
    full.gitUrl(id),
    `http://127.0.0.1:${(redirecting.address() as AddressInfo).port}/`,
    "http://127.0.0.1:1/",
    "--upload-pack=touch /tmp/x",
    "ext::sh -c true",
  ];
  for (const url of sources) {
    const result = await behind.catchUp(id, 1, url, header);
    assert.equal(result["kind"], "node-failed", url);
    assert.doesNotMatch(JSON.stringify(result), /Bearer/);
    assert.equal((await behind.json("GET", nodePaths.replica(id))).body["generation"], -1);
    assert.deepEqual(behind.packs(id), []);
    assert.deepEqual(behind.leftovers(id), []);
  }
  redirecting.close();
});

test("an aborted catch-up ends its fetch and leaves nothing", async () => {
  const id = await full.create();
  const oid = source.commit("aborted");
  const hanging = createServer(() => {});
  hanging.listen(0, "127.0.0.1");
  await once(hanging, "listening");
  const url = `http://127.0.0.1:${(hanging.address() as AddressInfo).port}/`;
  const abort = new AbortController();
  const asked = once(hanging, "connection");
  const header = { replica: behind.describe(id), generation: 1, sourceUrl: url };
  const body = `${JSON.stringify(header)}\n${JSON.stringify(["refs/heads/x", oid])}\n`;
  const call = behind.send("POST", nodePaths.catchUp(id), body, { signal: abort.signal });
  const ended = call.then((answer) => answer.body.text()).catch(() => "aborted");
  const [connection] = (await asked) as [NodeJS.EventEmitter];
  const closed = once(connection, "close");
  assert.equal(behind.leftovers(id).length > 0, true);
  abort.abort();
  assert.equal(await ended, "aborted");
  await closed;
  await until("the quarantine is gone", () => behind.leftovers(id).length === 0);
  hanging.closeAllConnections();
  hanging.close();
});

test("the tips of a push come from a replica that holds them, unless this one has a catch-up to do", async () => {
  const id = await full.create();
  const oid = source.commit("tips");
  await push(id, 1, source.pack(oid), [["refs/heads/x", oid]]);
  const wanted = { tips: [{ name: "refs/heads/x", oid }], sourceUrl: full.gitUrl(id) };
  const fetchTips = async (): Promise<unknown> =>
    (await behind.lines(nodePaths.fetchTips(id), `${JSON.stringify(wanted)}\n`)).at(-1)?.["result"];
  assert.equal((await behind.json("POST", nodePaths.replicas, behind.describe(id))).status, 201);
  assert.deepEqual(await fetchTips(), { kind: "staged", tips: [{ type: "commit" }], packBytes: 0 });
  assert.equal((await behind.apply(id, 0, 1, [["refs/heads/x", oid]])).status, 200);
  isLikeSource(id);
});

test("an object that was lost behind the refs is fetched again when it is needed", async () => {
  const id = await full.create();
  const old = source.commit("lost-1");
  const tip = source.commit("lost-2");
  await push(id, 1, source.pack(tip), [["refs/heads/x", tip]]);
  assert.equal((await behind.catchUp(id, 1, full.gitUrl(id), [["refs/heads/x", tip]]))["kind"], "caught-up");
  const packs = join(behind.replica(id), "objects", "pack");
  const content = readdirSync(packs).filter((name) => name.endsWith(".pack"))[0] ?? "";
  const bytes = readFileSync(join(packs, content));
  rmSync(packs, { recursive: true });
  git(behind.replica(id), ["unpack-objects", "-q"], bytes);
  rmSync(join(behind.replica(id), "objects", old.slice(0, 2), old.slice(2)));
  await push(id, 2, Buffer.alloc(0), [["refs/heads/x", old]]).catch(() => {});
  assert.equal((await full.apply(id, 1, 2, [["refs/heads/x", old]])).status, 200);
  const result = await behind.catchUp(id, 2, full.gitUrl(id), [["refs/heads/x", old]]);
  assert.deepEqual(result, { kind: "caught-up", generation: 2 });
  isLikeSource(id);
  assert.ok(existsSync(join(behind.replica(id), "gitmesh.damaged")), "what was left of it is not trusted");
});

test("a source that cannot read what is wanted, or has never had it, is told apart from other failures", async () => {
  const id = await full.create();
  const old = source.commit("unreadable-1");
  const tip = source.commit("unreadable-2");
  await push(id, 1, source.pack(tip), [["refs/heads/x", tip]]);
  const sourceFailed = async (oid: string, url = full.gitUrl(id)): Promise<unknown> => {
    const result = await behind.catchUp(id, 1, url, [["refs/heads/x", oid]]);
    assert.equal(result["kind"], "node-failed");
    return result["sourceFailed"];
  };
  assert.equal(await sourceFailed(source.commit("never-pushed")), true);
  assert.equal(await sourceFailed(tip, "http://127.0.0.1:1/"), false);
  const packs = join(full.replica(id), "objects", "pack");
  const bytes = readFileSync(join(packs, readdirSync(packs).find((name) => name.endsWith(".pack")) ?? ""));
  rmSync(packs, { recursive: true });
  git(full.replica(id), ["unpack-objects", "-q"], bytes);
  rmSync(join(full.replica(id), "objects", old.slice(0, 2), old.slice(2)));
  assert.equal(await sourceFailed(tip), true);
});
