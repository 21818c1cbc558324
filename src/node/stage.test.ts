import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { after, before, test } from "node:test";
import { deflateSync } from "node:zlib";
import { systemClock } from "../base/clock.ts";
import { nodePaths, type StageResult } from "../protocol/node-api.ts";
import { until, type NodeApiClient } from "./testing/node-api-client.ts";
import { git, type SourceRepository } from "./testing/source-repository.ts";
import { TestNodes } from "./testing/test-node.ts";

/** Of the system, not of this package. */
const mountProgram = "mount";
const nodes = new TestNodes();
let node: NodeApiClient;
let source: SourceRepository;

before(async () => {
  node = await nodes.start("n");
  source = nodes.source();
});

after(() => nodes.close());

function nothingLeft(id: string): void {
  assert.deepEqual(node.leftovers(id), []);
  assert.deepEqual(node.packs(id), []);
}

/** A pack of one commit of the size that its header claims. */
function packWithSize(size: bigint, content: Buffer): Buffer {
  let rest = size >> 4n;
  const header = [0x10 | Number(size & 15n) | (rest > 0n ? 0x80 : 0)];
  while (rest > 0n) {
    const more = rest >> 7n;
    header.push(Number(rest & 127n) | (more > 0n ? 0x80 : 0));
    rest = more;
  }
  const body = Buffer.concat([
    Buffer.from("PACK\0\0\0\x02\0\0\0\x01", "latin1"),
    Buffer.from(header),
    deflateSync(content),
  ]);
  return Buffer.concat([body, createHash("sha1").update(body).digest()]);
}

test("bad packs are told in git's words", async () => {
  const id = await node.create();
  const base = source.commit("file", "line\n".repeat(2000));
  const oid = source.commit("file", `${"line\n".repeat(2000)}more\n`);
  const pack = source.pack(oid);
  const flipped = Buffer.from(pack);
  flipped.writeUInt8(flipped.readUInt8(pack.length - 30) ^ 1, pack.length - 30);
  const commitAlone = source.packOf(oid);
  const table: [string, Buffer, RegExp][] = [
    ["truncated", pack.subarray(0, -30), /early EOF/],
    ["a flipped bit", flipped, /./],
    ["garbage", randomBytes(1000), /pack signature mismatch/],
    ["a thin pack without its base", source.pack(oid, `^${base}`), /unresolved delta|did not receive expected object/],
    ["objects that are not sent", commitAlone, /did not receive expected object/],
    ["an object too large to hold", packWithSize(1n << 45n, Buffer.from("x")), /over limit/],
    ["an object shorter than it says", packWithSize(1000n, Buffer.from("x")), /./],
  ];
  for (const [what, bytes, words] of table) {
    const result = await node.stage(id, bytes, oid);
    assert.equal(result.kind, "bad-pack", `${what}: ${JSON.stringify(result)}`);
    assert.match(result.kind === "bad-pack" ? result.message : "", words, what);
    assert.doesNotMatch(result.kind === "bad-pack" ? result.message : "", /^(?:fatal|error):|\n/, what);
    nothingLeft(id);
  }
});

test("a bad pack is the client's fault and leaves nothing", async () => {
  const id = await node.create();
  const first = source.commit("bad-base");
  const oid = source.commit("bad");
  const pack = source.pack(oid);
  const corrupt = Buffer.from(pack);
  const middle = Math.floor(pack.length / 2);
  corrupt.writeUInt8(corrupt.readUInt8(middle) ^ 0xff, middle);
  assert.equal((await node.stage(id, pack.subarray(0, pack.length - 5), oid)).kind, "bad-pack");
  assert.equal((await node.stage(id, corrupt, oid)).kind, "bad-pack");
  assert.equal((await node.stage(id, Buffer.from("no pack at all"), oid)).kind, "bad-pack");
  assert.deepEqual(await node.stage(id, pack, "1".repeat(40)), {
    kind: "staged",
    tips: [{ type: "missing" }],
    packBytes: pack.length,
    generation: 0,
  });
  const lacking = await node.stage(id, source.pack(oid, `^${first}`), oid);
  assert.ok(
    lacking.kind === "bad-pack" || (lacking.kind === "staged" && lacking.tips[0]?.type === "missing"),
    JSON.stringify(lacking),
  );
  nothingLeft(id);
});

test("one missing tip does not refuse the others; tags are peeled", async () => {
  const id = await node.create();
  const oid = source.commit("tips");
  source.text("tag", "-a", "-m", "annotated", "tips-v1");
  const tag = source.text("rev-parse", "tips-v1");
  const result = await node.stage(id, source.pack(oid, tag), oid, "2".repeat(40), tag);
  assert.deepEqual(result.kind === "staged" && result.tips, [
    { type: "commit" },
    { type: "missing" },
    { type: "tag", peeled: oid },
  ]);
});

test("fifty uploads to one repository at once", async () => {
  const id = await node.create();
  const base = source.commit("many-base");
  await node.stage(id, source.pack(base), base);
  const packs = Array.from({ length: 50 }, (_value, index) => {
    const oid = source.commit(`many-${index}`);
    return { oid, pack: source.pack(oid) };
  });
  const results = await Promise.all(packs.map(({ oid, pack }) => node.stage(id, pack, oid)));
  assert.ok(results.every(({ kind }) => kind === "staged"));
  assert.deepEqual(node.leftovers(id), []);
  for (const { oid } of packs) assert.equal(git(node.replica(id), ["cat-file", "-t", oid]).toString().trim(), "commit");
});

test("more bytes than allowed are refused", async () => {
  const id = await node.create();
  const oid = source.commit("big", randomBytes(200_000));
  const body = Buffer.concat([node.stageHeader([oid], {}, 10_000), source.pack(oid)]);
  const result = (await node.lines(nodePaths.stage(id), body)).at(-1)?.["result"] as StageResult;
  assert.deepEqual(result, { kind: "bad-pack", message: "pack exceeds maximum allowed size (9.77 KiB)" });
  nothingLeft(id);
});

test("a large bad pack is answered, not cut off", async () => {
  const id = await node.create();
  const result = await node.stage(id, Buffer.alloc(40_000_000, 1), "1".repeat(40));
  assert.deepEqual(result, { kind: "bad-pack", message: "pack signature mismatch" });
  nothingLeft(id);
});

test("no pack, or one without objects, is fine when the tips are there", async () => {
  const id = await node.create();
  const oid = source.commit("there");
  await node.stage(id, source.pack(oid), oid);
  await node.apply(id, 0, 1, [["refs/heads/x", oid]]);
  const before = node.packs(id);
  const empty = source.packOf();
  assert.equal(empty.readUInt32BE(8), 0);
  const staged = { kind: "staged", tips: [{ type: "commit" }], packBytes: 0, generation: 1 };
  assert.deepEqual(await node.stage(id, Buffer.alloc(0), oid), staged);
  assert.deepEqual(await node.stage(id, empty, oid), { ...staged, packBytes: empty.length });
  assert.deepEqual(await node.stage(id, Buffer.alloc(0), "1".repeat(40)), { ...staged, tips: [{ type: "missing" }] });
  assert.deepEqual(node.packs(id), before);
});

test("old histories' flaws pass, what could harm does not", async () => {
  const id = await node.create();
  const tree = source.text("write-tree");
  const old = source.object("commit", `tree ${tree}\nauthor A <a@b> 1 +0000000\ncommitter A a@b> 1 +0000\n\nm\n`);
  const pack = source.pack(old);
  const accepted = await node.stage(id, pack, old);
  assert.deepEqual(accepted, { kind: "staged", tips: [{ type: "commit" }], packBytes: pack.length, generation: 0 });
  const blob = source.object("blob", "x");
  const evil = source.object("tree", Buffer.concat([Buffer.from("100644 .git\0"), Buffer.from(blob, "hex")]));
  const commit = source.object("commit", `tree ${evil}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nm\n`);
  const refused = await node.stage(id, source.packOf(commit, evil, blob), commit);
  assert.equal(refused.kind, "bad-pack");
  assert.match(refused.kind === "bad-pack" ? refused.message : "", /hasDotgit/);
});

test("every type of tip, and ancestry where it is asked", async () => {
  const id = await node.create();
  const first = source.commit("a1");
  const second = source.commit("a2");
  source.text("checkout", "-q", "-b", "side", first);
  const side = source.commit("a3");
  source.text("tag", "-f", "-a", "-m", "inner", "inner", second);
  source.text("tag", "-f", "-a", "-m", "outer", "outer", "inner");
  const outer = source.text("rev-parse", "outer");
  const tree = source.text("rev-parse", `${first}^{tree}`);
  const blob = source.object("blob", "a blob");
  source.text("checkout", "-q", "master");
  const pack = source.pack(second, side, outer, blob);
  const ask = { [second]: first, [side]: second };
  const body = Buffer.concat([node.stageHeader([second, side, outer, tree, blob], ask), pack]);
  const result = (await node.lines(nodePaths.stage(id), body)).at(-1)?.["result"] as StageResult;
  assert.deepEqual(result.kind === "staged" && result.tips, [
    { type: "commit", fastForward: true },
    { type: "commit", fastForward: false },
    { type: "tag", peeled: second },
    { type: "tree" },
    { type: "blob" },
  ]);
});

test("a tip whose history is not there is missing, although it is there itself", async () => {
  const id = await node.create();
  const parent = source.commit("p1");
  const child = source.commit("p2");
  const good = source.text("rev-parse", `${parent}^{tree}`);
  const trees = source.text("rev-list", "--objects", "--no-object-names", `${child}^{tree}`, good).split("\n");
  git(node.replica(id), ["unpack-objects", "-q"], source.packOf(child, ...trees));
  const result = await node.stage(id, source.packOf(), child, good);
  assert.deepEqual(result.kind === "staged" && result.tips, [{ type: "missing" }, { type: "tree" }]);
});

test("a pack on top of a commit whose history is not there: refused where objects were once lost", async () => {
  const id = await node.create();
  source.commit("lost");
  const parent = source.commit("kept");
  const child = source.commit("on top");
  const trees = source.text("rev-list", "--objects", "--no-object-names", `${parent}^{tree}`).split("\n");
  git(node.replica(id), ["unpack-objects", "-q"], source.packOf(parent, ...trees));
  writeFileSync(join(node.replica(id), "gitmesh.damaged"), "");
  const result = await node.stage(id, source.pack(child, `^${parent}`), child);
  assert.deepEqual(result.kind === "staged" && result.tips, [{ type: "missing" }], JSON.stringify(result));
});

test("a commit that is sent as a delta, and one of two tips that is not sent", async () => {
  const id = await node.create();
  const words = Array.from({ length: 200 }, (_, index) => `line ${index}`).join("\n");
  source.text("commit", "-q", "--allow-empty", "-m", `${words}\none`);
  const first = source.text("rev-parse", "HEAD");
  await node.stage(id, source.pack(first), first);
  source.text("commit", "-q", "--allow-empty", "-m", `${words}\ntwo`);
  const second = source.text("rev-parse", "HEAD");
  const thin = source.pack(second, `^${first}`);
  const result = await node.stage(id, thin, first, second);
  assert.deepEqual(result.kind === "staged" && result.tips, [{ type: "commit" }, { type: "commit" }]);
  // 200 lines of text are not sent again: it is a delta indeed.
  assert.ok(thin.length < 600, `${thin.length}`);
});

test("a pack that git takes and could not read back is not staged", async () => {
  const id = await node.create();
  const oid = source.commit("padded");
  const pack = source.packOf(
    oid,
    ...source.text("rev-list", "--objects", "--no-object-names", `${oid}^{tree}`).split("\n"),
  );
  // The first entry's size, in more bytes than it takes: each but the last says that another follows.
  const start = 12;
  let end = start;
  while (pack.readUInt8(end) >= 0x80) end += 1;
  const size = Buffer.from(pack.subarray(start, end + 1));
  size.writeUInt8(size.readUInt8(size.length - 1) | 0x80, size.length - 1);
  const padding = Buffer.concat([Buffer.alloc(12, 0x80), Buffer.from([0])]);
  const body = Buffer.concat([pack.subarray(0, start), size, padding, pack.subarray(end + 1, -20)]);
  const padded = Buffer.concat([body, createHash("sha1").update(body).digest()]);
  const parent = source.text("rev-parse", `${oid}^`);
  assert.equal((await node.stage(id, source.pack(parent), parent)).kind, "staged");
  const result = await node.stage(id, padded, oid);
  assert.ok(result.kind !== "staged" || result.tips[0]?.type === "missing", JSON.stringify(result));
});

test("signs of life and git's progress come while it works", async () => {
  const id = await node.create();
  const oid = source.commit("lively");
  async function* slowly(): AsyncGenerator<Buffer> {
    yield node.stageHeader([oid]);
    await systemClock.sleep(1300);
    yield source.pack(oid);
  }
  const lines = await node.lines(nodePaths.stage(id), Readable.from(slowly()));
  assert.ok(lines.filter((line) => line["alive"] === true).length >= 2);
  assert.equal(lines.filter((line) => line["result"] !== undefined).length, 1);
});

test("a caller that goes away at any point leaves no trace", async () => {
  const id = await node.create();
  const oid = source.commit("leaves", randomBytes(300_000));
  const pack = source.pack(oid);
  for (const share of [0, 0.3, 0.999]) {
    const abort = new AbortController();
    async function* half(): AsyncGenerator<Buffer> {
      yield node.stageHeader([oid]);
      yield pack.subarray(0, Math.floor(pack.length * share));
      await until("git works", () => node.leftovers(id).length > 0);
      abort.abort();
      await systemClock.sleep(10_000, abort.signal);
    }
    await assert.rejects(
      node
        .send("POST", nodePaths.stage(id), Readable.from(half()), { signal: abort.signal })
        .then((answer) => answer.body.text()),
    );
    await until("the quarantine is gone", () => node.leftovers(id).length === 0);
    assert.deepEqual(node.packs(id), []);
  }
});

test("while every process is taken, packs are kept until it is their turn", async () => {
  const busy = await nodes.start("busy", { gitProcessesMax: 1, gitQueueMax: 2 });
  const id = await busy.create();
  const oids = ["w1", "w2", "w3", "w4"].map((name) => source.commit(name, randomBytes(100_000)));
  const packs = oids.map((oid) => source.pack(oid));
  const hold = Promise.withResolvers<void>();
  async function* held(): AsyncGenerator<Buffer> {
    yield busy.stageHeader([oids[0] ?? ""]);
    yield packs[0]?.subarray(0, 1000) ?? Buffer.alloc(0);
    await hold.promise;
    yield packs[0]?.subarray(1000) ?? Buffer.alloc(0);
  }
  const first = busy.lines(nodePaths.stage(id), Readable.from(held()));
  await until("the first has the process", () => busy.leftovers(id).some((name) => name.includes("tmp_pack")));
  const waiting = [1, 2].map((index) => busy.stage(id, packs[index] ?? Buffer.alloc(0), oids[index] ?? ""));
  const uploads = (): number[] =>
    busy
      .leftovers(id)
      .filter((name) => name.endsWith("/upload"))
      .map((name) => statSync(join(busy.replica(id), "objects", name)).size);
  await until("both are kept whole", () => uploads().filter((size) => size >= 100_000).length === 2);
  const refused = await busy.stage(id, packs[3] ?? Buffer.alloc(0), oids[3] ?? "");
  assert.equal(refused.kind, "busy");
  hold.resolve();
  const [, ...lines] = await first;
  assert.deepEqual(lines.at(-1), {
    result: { kind: "staged", tips: [{ type: "commit" }], packBytes: packs[0]?.length, generation: 0 },
  });
  for (const result of await Promise.all(waiting)) assert.equal(result.kind, "staged");
  assert.deepEqual(busy.leftovers(id), []);
  for (const oid of oids.slice(0, 3))
    assert.equal(git(busy.replica(id), ["cat-file", "-t", oid]).toString(), "commit\n");
});

test(
  "a full disk is the node's failure, and leaves nothing",
  { skip: process.getuid?.() !== 0 && "needs root" },
  async (context) => {
    const small = join(nodes.directory, "small");
    mkdirSync(small);
    try {
      execFileSync(mountProgram, ["-t", "tmpfs", "-o", "size=3m", "tmpfs", small], { stdio: "ignore" });
    } catch {
      context.skip("no tmpfs can be mounted");
      return;
    }
    const { client: full, stop } = await nodes.startStoppable("small");
    try {
      const id = await full.create();
      const oid = source.commit("fills", randomBytes(6_000_000));
      const result = await full.stage(id, source.pack(oid), oid);
      assert.equal(result.kind, "node-failed", JSON.stringify(result));
      assert.match(result.kind === "node-failed" ? result.message : "", /No space left on device/);
      assert.deepEqual(full.leftovers(id), []);
      assert.deepEqual(full.packs(id), []);
      const fits = source.commit("fits");
      const small = source.pack(fits, `^${oid}`);
      assert.ok((await full.stage(id, small, fits)).kind !== "node-failed");
    } finally {
      await stop();
      execFileSync(`u${mountProgram}`, [small]);
    }
  },
);

test("staged objects are all git's own, with their index", async () => {
  const id = await node.create();
  const oid = source.commit("last");
  await node.stage(id, source.pack(oid), oid);
  const suffixes = readdirSync(join(node.replica(id), "objects", "pack")).map((name) => name.replace(/^.*\./, ""));
  assert.deepEqual(suffixes.toSorted(), ["idx", "pack", "rev"]);
  git(node.replica(id), ["fsck", "--full", "--strict"]);
});
