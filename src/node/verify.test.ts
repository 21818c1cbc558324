import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { hashOfRefs, nodePaths, type CopiesResponse, type VerifyResult } from "../protocol/node-api.ts";
import type { NodeApiClient } from "./testing/node-api-client.ts";
import { git, type SourceRepository } from "./testing/source-repository.ts";
import { TestNodes } from "./testing/test-node.ts";

const nodes = new TestNodes();
let node: NodeApiClient;
let source: SourceRepository;
let commits = 0;

before(async () => {
  node = await nodes.start("node");
  source = nodes.source();
});

after(() => nodes.close());

interface Filled {
  readonly id: string;
  readonly refs: [string, string][];
}

/** A replica at generation 1 with some history. */
async function filled(): Promise<Filled> {
  const id = await node.create();
  const oid = source.commit(`file-${(commits += 1)}`);
  assert.equal((await node.stage(id, source.pack(oid), oid)).kind, "staged");
  const refs: [string, string][] = [
    ["refs/heads/a", oid],
    ["refs/heads/b", oid],
  ];
  assert.equal((await node.apply(id, 0, 1, refs)).status, 200);
  return { id, refs };
}

async function verify({ id, refs }: Filled, objects = true, generation = 1): Promise<VerifyResult> {
  const body = JSON.stringify({ generation, refsHash: hashOfRefs(refs), objects });
  const answer = await node.send("POST", nodePaths.verify(id), body, {
    headers: { "content-type": "application/json" },
  });
  const lines = (await answer.body.text()).trim().split("\n");
  return (JSON.parse(lines.at(-1) ?? "") as { result: VerifyResult }).result;
}

function packOf(id: string): string {
  const pack = node.packs(id).find((name) => name.endsWith(".pack"));
  assert.ok(pack !== undefined);
  return join(node.replica(id), "objects", "pack", pack);
}

const sound = { kind: "verified", generation: 1, refs: "same", problems: [] };

test("a sound replica", async () => {
  assert.deepEqual(await verify(await filled()), sound);
});

test("refs that differ, and those of another generation", async () => {
  const replica = await filled();
  git(node.replica(replica.id), ["update-ref", "-d", "refs/heads/b"]);
  assert.deepEqual(await verify(replica, false), { ...sound, refs: "differ" });
  assert.deepEqual(await verify(replica, false, 2), { ...sound, refs: "not-compared" });
});

test("a file in the place of a directory, a directory in the place of a file", async () => {
  const file = await filled();
  rmSync(node.replica(file.id), { recursive: true });
  writeFileSync(node.replica(file.id), "");
  const result = await verify(file);
  assert.deepEqual(result.kind === "verified" && result.problems, ["the replica is no directory"]);
  const directory = await filled();
  rmSync(join(node.replica(directory.id), "gitmesh.json"));
  mkdirSync(join(node.replica(directory.id), "gitmesh.json"));
  const found = await verify(directory);
  assert.deepEqual(found.kind === "verified" && found.problems, ["gitmesh.json is no file"]);
});

test("a record that is gone is no generation, whatever the process remembers", async () => {
  const replica = await filled();
  rmSync(join(node.replica(replica.id), "gitmesh.json"));
  assert.deepEqual(await verify(replica, false), { ...sound, generation: -1, refs: "not-compared" });
});

test("a rotten byte in a pack, a pack that is gone, an object that is gone", async () => {
  const rotten = await filled();
  const pack = packOf(rotten.id);
  const bytes = readFileSync(pack);
  bytes[bytes.length - 30] = (bytes[bytes.length - 30] ?? 0) ^ 0xff;
  rmSync(pack);
  writeFileSync(pack, bytes);
  const emptied = await filled();
  for (const name of node.packs(emptied.id)) rmSync(join(node.replica(emptied.id), "objects", "pack", name));
  for (const replica of [rotten, emptied]) {
    const result = await verify(replica);
    assert.ok(result.kind === "verified" && result.problems.length > 0, JSON.stringify(result));
    // Only when it is asked to read the objects.
    const quick = await verify(replica, false);
    assert.ok(quick.kind === "verified" && quick.problems.length === 0);
  }
});

test("what was pushed with an odd date is no damage", async () => {
  const replica = await filled();
  const directory = node.replica(replica.id);
  const tree = source.text("rev-parse", "HEAD^{tree}");
  const odd = `tree ${tree}\nauthor A <a@b> 1 +12345\ncommitter A <a@b> 1 +12345\n\nodd\n`;
  const oid = source.object("commit", odd);
  assert.equal((await node.stage(replica.id, source.packOf(oid), oid)).kind, "staged");
  assert.equal((await node.apply(replica.id, 1, 2, [["refs/heads/odd", oid]])).status, 200);
  assert.throws(() => git(directory, ["fsck"]), "git itself calls it an error");
  const refs: [string, string][] = [...replica.refs, ["refs/heads/odd", oid]];
  assert.deepEqual(await verify({ id: replica.id, refs }, true, 2), { ...sound, generation: 2 });
});

test("any amount of oddness hides no damage, and is none", async () => {
  const replica = await filled();
  // More than any bound on what is kept of git's words; without the empty tree, which git has by itself.
  const commits = Array.from({ length: 300 }, (_, index) => {
    const message = `odd ${index}`;
    return `commit refs/odd/${index}\ncommitter A <a@b> 1 +12345\ndata ${message.length}\n${message}\n`;
  });
  git(source.directory, ["fast-import", "--quiet", "--date-format=raw-permissive"], commits.join(""));
  const odd = source.text("for-each-ref", "--format=%(objectname)", "refs/odd/").split("\n");
  assert.equal((await node.stage(replica.id, source.packOf(...odd), ...odd)).kind, "staged");
  const refs = odd.map((oid): [string, string] => [`refs/heads/odd/${oid}`, oid]);
  assert.equal((await node.apply(replica.id, 1, 2, refs)).status, 200);
  const all = { id: replica.id, refs: [...replica.refs, ...refs] };
  assert.deepEqual(await verify(all, true, 2), { ...sound, generation: 2 });
  const pack = packOf(replica.id);
  for (const file of [pack, pack.replace(/pack$/, "idx"), pack.replace(/pack$/, "rev")]) rmSync(file, { force: true });
  const result = await verify(all, true, 2);
  assert.ok(result.kind === "verified" && result.problems.length > 0, JSON.stringify(result));
});

test("a packed-refs that git cannot read: the refs differ", async () => {
  const replica = await filled();
  const directory = node.replica(replica.id);
  git(directory, ["pack-refs", "--all"]);
  const file = join(directory, "packed-refs");
  writeFileSync(file, readFileSync(file, "latin1").replace(/^[0-9a-f]{40} refs/m, "!$&"), "latin1");
  const result = await verify(replica, false);
  assert.equal(result.kind === "verified" && result.refs, "differ");
});

test("one that is not here is not found", async () => {
  const body = JSON.stringify({ generation: 1, refsHash: hashOfRefs([]), objects: true });
  const id = "01900000-0000-7000-8000-0000000000ff";
  const answer = await node.send("POST", nodePaths.verify(id), body, {
    headers: { "content-type": "application/json" },
  });
  assert.equal(answer.statusCode, 404);
  await answer.body.dump();
});

test("what is on the disk is listed, replicas and copies aside; a copy aside can be purged, nothing else", async () => {
  const { id } = await filled();
  const list = async (): Promise<CopiesResponse> =>
    (await node.json("GET", nodePaths.copies)).body as unknown as CopiesResponse;
  assert.deepEqual(
    (await list()).replicas.find(({ repositoryId }) => repositoryId === id),
    {
      repositoryId: id,
      name: "team/test",
      generation: 1,
    },
  );
  assert.equal((await node.json("POST", nodePaths.retire(id), { reason: "damaged" })).status, 204);
  const [copy] = (await list()).aside.filter(({ repositoryId }) => repositoryId === id);
  assert.ok(copy !== undefined);
  assert.deepEqual([copy.name, copy.reason, copy.sizeBytes > 0], ["team/test", "damaged", true]);
  for (const entry of ["..", "../replicas", `../${copy.entry}`, "", `${copy.entry}/`]) {
    assert.equal((await node.json("POST", nodePaths.purge, { entry })).status, 400, entry);
  }
  const path = join(node.directory, "aside", copy.entry);
  assert.ok(existsSync(path));
  assert.equal((await node.json("POST", nodePaths.purge, { entry: copy.entry })).status, 204);
  assert.ok(!existsSync(path));
  assert.equal((await node.json("POST", nodePaths.purge, { entry: copy.entry })).status, 204, "again is fine");
  assert.ok(readdirSync(join(node.directory, "replicas")).length > 0);
});

test("a surplus copy that is used meanwhile stays", async () => {
  const { id } = await filled();
  const usesOf = async (client: NodeApiClient, replica: string): Promise<unknown> =>
    (await client.json("GET", nodePaths.replica(replica))).body["uses"];
  const before = await usesOf(node, id);
  const oid = source.commit("used-meanwhile");
  assert.equal((await node.stage(id, source.pack(oid), oid)).kind, "staged");
  const refused = await node.json("POST", nodePaths.retire(id), { reason: "surplus", ifUses: before });
  assert.deepEqual([refused.status, refused.body["code"]], [409, "replica-in-use"]);
  assert.ok(existsSync(node.replica(id)));
  const { client, stop } = await nodes.startStoppable("restarted");
  const other = await client.create();
  const ofEarlierStart = await usesOf(client, other);
  await stop();
  const again = await nodes.start("restarted");
  const late = await again.json("POST", nodePaths.retire(other), { reason: "surplus", ifUses: ofEarlierStart });
  assert.equal(late.status, 409);
  const ifUses = await usesOf(again, other);
  assert.equal((await again.json("POST", nodePaths.retire(other), { reason: "surplus", ifUses })).status, 204);
  assert.ok(!existsSync(again.replica(other)));
});
