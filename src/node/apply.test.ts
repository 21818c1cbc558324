import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { after, before, test } from "node:test";
import type { RefUpdate } from "../protocol/node-api.ts";
import type { NodeApiClient } from "./testing/node-api-client.ts";
import { git, type SourceRepository } from "./testing/source-repository.ts";
import { TestNodes } from "./testing/test-node.ts";

const nodes = new TestNodes();
let node: NodeApiClient;
let source: SourceRepository;
let oid: string;
let other: string;

before(async () => {
  node = await nodes.start("n");
  source = nodes.source();
  other = source.commit("one");
  oid = source.commit("two");
});

after(() => nodes.close());

async function filled(client: NodeApiClient = node): Promise<string> {
  const id = await client.create();
  assert.equal((await client.stage(id, source.pack(oid), oid)).kind, "staged");
  return id;
}

function refs(id: string): string[] {
  const text = git(node.replica(id), ["for-each-ref", "--format=%(refname) %(objectname)"]).toString();
  return text.split("\n").filter((line) => line !== "");
}

function recorded(id: string): number {
  return (JSON.parse(readFileSync(join(node.replica(id), "gitmesh.json"), "utf8")) as { generation: number })
    .generation;
}

test("what lies about in refs/ refuses no committed change", async () => {
  const id = await filled();
  const place = (path: string, content: string): void => {
    mkdirSync(join(node.replica(id), path, ".."), { recursive: true });
    writeFileSync(join(node.replica(id), path), content);
  };
  place("refs/heads/nonsense", "nonsense\n");
  place("refs/heads/empty", "");
  place("refs/heads/dangling", `${"1".repeat(40)}\n`);
  place("refs/heads/locked.lock", "");
  place("packed-refs.lock", "");
  place("refs/heads/deep/er/junk", "junk\n");
  place("refs/heads/shallow", "junk\n");
  place("refs/heads/gone", "junk\n");
  mkdirSync(join(node.replica(id), "refs/heads/hollow/er"), { recursive: true });
  const updates: RefUpdate[] = [
    ["refs/heads/nonsense", oid],
    ["refs/heads/empty", oid],
    ["refs/heads/dangling", oid],
    ["refs/heads/locked", oid],
    ["refs/heads/deep", oid],
    ["refs/heads/shallow/er", oid],
    ["refs/heads/hollow", oid],
    ["refs/heads/gone", null],
    ["refs/heads/never/was", null],
  ];
  const { status, body } = await node.apply(id, 0, 1, updates);
  assert.deepEqual({ status, body }, { status: 200, body: { generation: 1 } });
  const expected = updates.filter((update) => update[1] !== null).map(([name]) => `${name} ${oid}`);
  assert.deepEqual(refs(id), expected.toSorted());
  git(node.replica(id), ["fsck"]);
});

test("a change that cannot be made is an error, and the generation stays", async () => {
  const id = await filled();
  const { status, body } = await node.apply(id, 0, 1, [["refs/heads/x", "1".repeat(40)]]);
  assert.deepEqual([status, body["code"]], [500, "git-failed"]);
  assert.equal(recorded(id), 0);
  assert.deepEqual(refs(id), []);
  assert.equal((await node.apply(id, 0, 1, [["refs/heads/x", oid]])).status, 200);
  assert.equal(recorded(id), 1);
});

test("a ref that only moves is written durably, past locks of a killed git", async () => {
  const id = await filled();
  const place = join(node.replica(id), "refs/heads/a/b");
  assert.equal((await node.apply(id, 0, 1, [["refs/heads/a/b", oid]])).status, 200);
  assert.equal(readFileSync(place, "utf8"), `${oid}\n`);
  writeFileSync(`${place}.lock`, "");
  const third = source.commit("three");
  assert.equal((await node.stage(id, source.pack(third, `^${oid}`), third)).kind, "staged");
  assert.equal((await node.apply(id, 1, 2, [["refs/heads/a/b", third]])).status, 200);
  assert.deepEqual(refs(id), [`refs/heads/a/b ${third}`]);
  assert.ok(!existsSync(`${place}.lock`));
  // Packed and loose: what is newer counts.
  git(node.replica(id), ["pack-refs", "--all", "--prune"]);
  const fourth = source.commit("four");
  assert.equal((await node.stage(id, source.pack(fourth, `^${third}`), fourth)).kind, "staged");
  assert.equal((await node.apply(id, 2, 3, [["refs/heads/a/b", fourth]])).status, 200);
  assert.deepEqual(refs(id), [`refs/heads/a/b ${fourth}`]);
});

test("a delete touches no other ref, also not one in whose place it would have been", async () => {
  const id = await filled();
  const first: RefUpdate[] = [
    ["refs/heads/file", oid],
    ["refs/heads/dir/one", oid],
    ["refs/tags/kept", other],
  ];
  assert.equal((await node.apply(id, 0, 1, first)).status, 200);
  git(node.replica(id), ["tag", "-a", "-m", "annotated", "kept-too", oid]);
  git(node.replica(id), ["pack-refs", "--all", "--prune"]);
  const place = (path: string): string => join(node.replica(id), path);
  for (const [name] of first.slice(0, 2)) {
    mkdirSync(join(place(name), ".."), { recursive: true });
    writeFileSync(place(name), `${other}\n`);
  }
  const deletes: RefUpdate[] = [
    ["refs/heads/file/below", null],
    ["refs/heads/dir", null],
    ["refs/tags/never", null],
  ];
  assert.equal((await node.apply(id, 1, 2, deletes)).status, 200);
  const tag = git(node.replica(id), ["rev-parse", "kept-too"]).toString().trim();
  assert.deepEqual(refs(id), [
    `refs/heads/dir/one ${other}`,
    `refs/heads/file ${other}`,
    `refs/tags/kept ${other}`,
    `refs/tags/kept-too ${tag}`,
  ]);
  assert.equal(git(node.replica(id), ["rev-parse", "kept-too^{}"]).toString().trim(), oid);
  // Loose and packed: neither is left.
  assert.equal(
    (
      await node.apply(id, 2, 3, [
        ["refs/heads/dir/one", null],
        ["refs/heads/dir", oid],
      ])
    ).status,
    200,
  );
  assert.equal((await node.apply(id, 3, 4, [["refs/heads/file", null]])).status, 200);
  assert.deepEqual(refs(id).slice(0, 1), [`refs/heads/dir ${oid}`]);
  assert.ok(!existsSync(place("refs/heads/dir")) && !refs(id).some((text) => text.startsWith("refs/heads/file")));
  git(node.replica(id), ["fsck", "--strict"]);
});

test("names are bytes", async () => {
  const id = await filled();
  const name = "refs/heads/\u00e4\u00ff/\u0080";
  assert.equal((await node.apply(id, 0, 1, [[name, oid]])).status, 200);
  const bytes = git(node.replica(id), ["for-each-ref", "--format=%(refname)"]);
  assert.deepEqual(bytes, Buffer.from(`${name}\n`, "latin1"));
});

test("concurrent calls are put in order", async () => {
  const id = await filled();
  const answers = await Promise.all([
    node.apply(id, 0, 1, [["refs/heads/x", other]]),
    node.apply(id, 0, 2, [["refs/heads/x", oid]]),
    node.apply(id, 0, 1, [["refs/heads/x", other]]),
  ]);
  assert.ok(answers.every(({ status }) => status === 200));
  assert.equal((await node.json("GET", `/node/v1/replicas/${id}`)).body["generation"], 2);
  assert.deepEqual(refs(id), [`refs/heads/x ${oid}`]);
});

test("2,000 refs come and go in one request each, packed", async () => {
  const id = await filled();
  const all = (value: string | null): RefUpdate[] =>
    Array.from({ length: 2000 }, (_value, index) => [`refs/tags/d${index % 20}/t${index}`, value]);
  assert.equal((await node.apply(id, 0, 1, all(other))).status, 200);
  assert.equal(refs(id).length, 2000);
  assert.ok(!existsSync(join(node.replica(id), "refs/tags/d1")));
  git(node.replica(id), ["fsck", "--strict"]);
  assert.equal((await node.apply(id, 1, 2, all(oid).slice(0, 150))).status, 200);
  assert.equal(refs(id).filter((line) => line.endsWith(oid)).length, 150);
  assert.equal((await node.apply(id, 2, 3, all(null))).status, 200);
  assert.deepEqual(refs(id), []);
});

test("pushes that are slow to come do not keep a commit waiting", async () => {
  const busy = await nodes.start("busy", { gitProcessesMax: 1 });
  const id = await filled(busy);
  const abort = new AbortController();
  const begun = Promise.withResolvers<void>();
  async function* never(): AsyncGenerator<Buffer> {
    yield busy.stageHeader([oid]);
    yield source.pack(oid).subarray(0, 20);
    begun.resolve();
    await new Promise<void>((resolve) => abort.signal.addEventListener("abort", () => resolve(), { once: true }));
  }
  const slow = busy.send("POST", `/node/v1/replicas/${id}/_stage`, Readable.from(never()), { signal: abort.signal });
  const ended = slow.then((answer) => answer.body.text()).catch(() => {});
  await begun.promise;
  assert.equal((await busy.apply(id, 0, 1, [["refs/heads/x", oid]])).status, 200);
  abort.abort();
  await ended;
});

test("a new server removes what a killed one left, before it serves", async () => {
  const { client, stop } = await nodes.startStoppable("crashed");
  const id = await filled(client);
  await client.apply(id, 0, 1, [["refs/heads/x", oid]]);
  await stop();
  const replica = client.replica(id);
  const left = [
    "HEAD.lock",
    "packed-refs.lock",
    "packed-refs.new",
    "config.lock",
    "config.new",
    "gitmesh.json.new",
    "refs/heads/x.lock",
    "refs/heads/team/y.lock",
    "objects/pack/tmp_pack_abcdef",
    "objects/pack/.tmp-1-pack",
    "objects/ab/tmp_obj_abcdef",
    "objects/tmp_objdir-incoming-abcdef/pack/tmp_pack_x",
    "objects/info/commit-graph.lock",
  ];
  for (const path of left) {
    mkdirSync(join(replica, path, ".."), { recursive: true });
    writeFileSync(join(replica, path), "");
  }
  const again = await nodes.start("crashed");
  assert.equal((await again.apply(id, 1, 2, [["refs/heads/x", other]])).status, 200);
  for (const path of left) assert.ok(!existsSync(join(replica, path)), path);
});
