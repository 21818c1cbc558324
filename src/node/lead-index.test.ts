import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { nodePaths, type StageResult } from "../protocol/node-api.ts";
import type { NodeApiClient } from "./testing/node-api-client.ts";
import { git, type SourceRepository } from "./testing/source-repository.ts";
import { TestNodes } from "./testing/test-node.ts";

const nodes = new TestNodes();
const servers: Server[] = [];
let lead: NodeApiClient;
let follower: NodeApiClient;
let source: SourceRepository;

before(async () => {
  lead = await nodes.start("lead");
  follower = await nodes.start("follower");
  source = nodes.source();
});

after(async () => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  await nodes.close();
});

type Role = { readonly leads: true } | { readonly leadUrl: string };

async function stage(
  node: NodeApiClient,
  id: string,
  role: Role,
  pack: Buffer,
  ...oids: string[]
): Promise<StageResult> {
  const header = { ...(JSON.parse(node.stageHeader(oids).toString()) as object), ...role };
  const body = Buffer.concat([Buffer.from(`${JSON.stringify(header)}\n`), pack]);
  return (await node.lines(nodePaths.stage(id), body)).at(-1)?.["result"] as StageResult;
}

/** The same replica on both nodes. */
async function createOnBoth(objectFormat: "sha1" | "sha256" = "sha1"): Promise<string> {
  const id = await lead.create(objectFormat);
  const answer = await follower.json("POST", nodePaths.replicas, follower.describe(id, objectFormat));
  assert.equal(answer.status, 201);
  return id;
}

function isWhole(node: NodeApiClient, id: string, oid: string): void {
  git(node.replica(id), ["fsck", "--full", "--strict"]);
  git(node.replica(id), ["rev-list", "--objects", "--quiet", oid]);
  assert.deepEqual(node.leftovers(id), []);
  assert.deepEqual(
    node
      .packs(id)
      .map((name) => name.replace(/^.*\./, ""))
      .toSorted(),
    ["idx", "pack", "rev"],
  );
}

/** A lead that answers every question for an index with these bytes. */
async function leadThatAnswers(lines: string, ...bytes: Buffer[]): Promise<{ url: string; asked: () => number }> {
  let asked = 0;
  const server = createServer((_request, response) => {
    asked += 1;
    response.writeHead(200);
    response.write(lines);
    for (const part of bytes) response.write(part);
    response.end();
  });
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked: () => asked };
}

/** A commit with a file too large for a pack that everybody indexes; the pack, its name, and files that git makes of it. */
function largePack(origin: SourceRepository): { oid: string; pack: Buffer; name: string; idx: Buffer; rev: Buffer } {
  origin.text("checkout", "-q", "--orphan", `o${randomBytes(4).toString("hex")}`);
  const oid = origin.commit("large", randomBytes(1_500_000));
  const pack = origin.pack(oid);
  const name = `pack-${pack.subarray(oid.length === 40 ? -20 : -32).toString("hex")}`;
  git(origin.directory, ["-c", "pack.writeReverseIndex=true", "index-pack", "--stdin"], pack);
  const path = join(origin.directory, ".git", "objects", "pack", name);
  return { oid, pack, name, idx: readFileSync(`${path}.idx`), rev: readFileSync(`${path}.rev`) };
}

/** With another checksum of an object's bytes, which git reads only when it packs anew, and the index's own put right. */
function marked(idx: Buffer): Buffer {
  const copy = Buffer.from(idx);
  const objects = copy.readUInt32BE(8 + 255 * 4);
  const place = 8 + 1024 + objects * 20;
  copy.writeUInt32BE((copy.readUInt32BE(place) ^ 1) >>> 0, place);
  createHash("sha1")
    .update(copy.subarray(0, -20))
    .digest()
    .copy(copy, copy.length - 20);
  return copy;
}

test("a replica takes the lead's index, in both object formats", async () => {
  for (const format of ["sha1", "sha256"] as const) {
    const id = await createOnBoth(format);
    const { oid, pack } = largePack(nodes.source(`of-${format}`, format));
    const results = await Promise.all([
      stage(lead, id, { leads: true }, pack, oid),
      stage(follower, id, { leadUrl: lead.url }, pack, oid),
    ]);
    const expected = { kind: "staged", tips: [{ type: "commit" }], packBytes: pack.length, generation: 0 };
    assert.deepEqual(results, [expected, expected]);
    for (const node of [lead, follower]) isWhole(node, id, oid);
  }
});

test("it is the lead's index indeed", async () => {
  const id = await createOnBoth();
  const { oid, pack, name, idx, rev } = largePack(source);
  const line = `{"alive":true}\n${JSON.stringify({ pack: name, idxBytes: idx.length, revBytes: rev.length })}\n`;
  const other = await leadThatAnswers(line, marked(idx), rev);
  assert.equal((await stage(follower, id, { leadUrl: other.url }, pack, oid)).kind, "staged");
  assert.deepEqual(readFileSync(join(follower.replica(id), "objects", "pack", `${name}.idx`)), marked(idx));
});

test("what is no index of the pack is not taken: the replica makes its own", async () => {
  const { oid, pack, name, idx, rev } = largePack(source);
  const another = largePack(source);
  const line = (of: { name: string; idx: Buffer; rev: Buffer }, pack_ = of.name): string =>
    `${JSON.stringify({ pack: pack_, idxBytes: of.idx.length, revBytes: of.rev.length })}\n`;
  const rotten = Buffer.from(idx);
  rotten.writeUInt8(rotten.readUInt8(3000 % idx.length) ^ 1, 3000 % idx.length);
  const answers: [string, string, Buffer[]][] = [
    ["there is none", '{"pack":null,"idxBytes":0,"revBytes":0}\n', []],
    ["nonsense", "nonsense\n", []],
    ["of another pack", line(another), [another.idx, another.rev]],
    ["of another pack under this one's name", line(another, name), [another.idx, another.rev]],
    ["with a byte that rotted", line({ name, idx, rev }), [rotten, rev]],
    ["cut short", line({ name, idx, rev }), [idx, rev.subarray(0, -3)]],
    ["an escape", line({ name: "../../pack-x", idx, rev }), [idx, rev]],
  ];
  for (const [what, lines, bytes] of answers) {
    const id = await createOnBoth();
    const bad = await leadThatAnswers(lines, ...bytes);
    assert.equal((await stage(follower, id, { leadUrl: bad.url }, pack, oid)).kind, "staged", what);
    assert.equal(bad.asked(), 1, what);
    isWhole(follower, id, oid);
    assert.deepEqual(readFileSync(join(follower.replica(id), "objects", "pack", `${name}.idx`)), idx, what);
  }
  const id = await createOnBoth();
  assert.equal(
    (await stage(follower, id, { leadUrl: "http://127.0.0.1:1" }, pack, oid)).kind,
    "staged",
    "nobody there",
  );
  isWhole(follower, id, oid);
});

test("a bad pack is bad with a lead too, and one that rests on something is indexed by each", async () => {
  const id = await createOnBoth();
  const { oid, pack } = largePack(source);
  const flipped = Buffer.from(pack);
  flipped.writeUInt8(flipped.readUInt8(pack.length - 30_000) ^ 1, pack.length - 30_000);
  const roles: [NodeApiClient, Role][] = [
    [lead, { leads: true }],
    [follower, { leadUrl: lead.url }],
  ];
  const both = (bytes: Buffer, tip: string): Promise<StageResult[]> =>
    Promise.all(roles.map(([node, role]) => stage(node, id, role, bytes, tip)));
  for (const { kind } of await both(flipped, oid)) assert.equal(kind, "bad-pack");
  for (const { kind } of await both(pack.subarray(0, -5), oid)) assert.equal(kind, "bad-pack");
  for (const node of [lead, follower]) assert.deepEqual([node.packs(id), node.leftovers(id)], [[], []]);
  for (const { kind } of await both(pack, oid)) assert.equal(kind, "staged");
  const next = source.commit("on top", randomBytes(1_500_000));
  for (const { kind } of await both(source.pack(next, `^${oid}`), next)) assert.equal(kind, "staged");
  for (const node of [lead, follower]) git(node.replica(id), ["fsck", "--full", "--strict"]);
});

test("an index is given to nobody without the secret, and none where there is no such push", async () => {
  const path = lead.url + nodePaths.stagedIndex(await lead.create(), "never");
  assert.equal((await fetch(path)).status, 401);
  const answer = await lead.send("GET", path.slice(lead.url.length), null);
  assert.match(await answer.body.text(), /"pack":null/);
});
