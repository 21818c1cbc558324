import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { nodePaths } from "../protocol/node-api.ts";
import { testSecret, until, type NodeApiClient } from "./testing/node-api-client.ts";
import { git, type SourceRepository } from "./testing/source-repository.ts";
import { TestNodes } from "./testing/test-node.ts";

const nodes = new TestNodes();
let node: NodeApiClient;
let source: SourceRepository;
let id: string;
let oid: string;

before(async () => {
  node = await nodes.start("n", { requestIdleMs: 1000 });
  source = nodes.source();
  source.commit("large", randomBytes(30_000_000));
  oid = source.commit("small");
  id = await node.create();
  await node.stage(id, source.pack(oid), oid);
  await node.apply(id, 0, 1, [["refs/heads/master", oid]]);
});

after(() => nodes.close());

function pkt(text: string): string {
  return (text.length + 4).toString(16).padStart(4, "0") + text;
}

function fetchBody(want: string, version: "0" | "2", haves: readonly string[] = []): string {
  const lines = haves.map((have) => pkt(`have ${have}\n`)).join("");
  if (version === "0") return `${pkt(`want ${want} side-band-64k ofs-delta\n`)}0000${lines}${pkt("done\n")}`;
  return `${pkt("command=fetch")}0001${pkt("ofs-delta\n")}${pkt(`want ${want}\n`)}${lines}${pkt("done\n")}0000`;
}

async function uploadPack(
  body: string | Buffer,
  headers: Record<string, string>,
): Promise<{ status: number; body: Buffer }> {
  const answer = await node.send("POST", `${nodePaths.git(id)}/git-upload-pack`, body, { headers });
  return { status: answer.statusCode, body: Buffer.from(await answer.body.arrayBuffer()) };
}

function gitsAtWork(): number {
  return readdirSync("/proc").filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readlinkSync(`/proc/${pid}/cwd`) === node.replica(id);
    } catch {
      return false;
    }
  }).length;
}

test("a want that is not there is git's answer, not a failure, however much follows", async () => {
  const haves = Array.from({ length: 20_000 }, (_value, index) => index.toString(16).padStart(40, "0"));
  for (const version of ["0", "2"] as const) {
    const body = fetchBody("1".repeat(40), version, haves);
    for (let round = 0; round < 5; round += 1) {
      const answer = await uploadPack(body, { "git-protocol": `version=${version}` });
      assert.equal(answer.status, 200);
      assert.match(answer.body.toString(), /^[0-9a-f]{4}ERR upload-pack: not our ref 1{40}/);
    }
  }
});

test("compressed requests are understood, damaged and unknown ones refused", async () => {
  const body = fetchBody(oid, "2");
  const version = { "git-protocol": "version=2" };
  const plain = await uploadPack(body, version);
  const packed = await uploadPack(gzipSync(body), { ...version, "content-encoding": "gzip" });
  assert.equal(plain.status, 200);
  assert.ok(plain.body.length > 30_000_000);
  assert.ok(packed.body.length > 30_000_000);
  assert.equal((await uploadPack(body, { ...version, "content-encoding": "br" })).status, 415);
  const zipped = gzipSync(body);
  const half = await uploadPack(zipped.subarray(0, zipped.length / 2), { ...version, "content-encoding": "gzip" });
  assert.ok(half.status === 400 || half.status === 500, String(half.status));
  // All but the end: git may have answered before that is noticed, and the server goes on in any case.
  for (let round = 0; round < 5; round += 1) {
    const damaged = await uploadPack(zipped.subarray(0, -6), { ...version, "content-encoding": "gzip" }).catch(
      () => null,
    );
    assert.ok(damaged === null || [200, 400, 500].includes(damaged.status));
  }
  assert.equal((await node.json("GET", "/healthz")).status, 200);
});

test("a protocol that is none of git's never reaches its environment", async () => {
  const answer = await node.send("GET", `${nodePaths.git(id)}/info/refs?service=git-upload-pack`, null, {
    headers: { "git-protocol": "version=2:x=$(touch /tmp/x)" },
  });
  // As if it had not been said: protocol v0.
  assert.match(await answer.body.text(), new RegExp(`^001e# service=git-upload-pack\\n0000[0-9a-f]{4}${oid} HEAD\\0`));
  const other = await node.send("GET", `${nodePaths.git(id)}/info/refs?service=git-receive-pack`, null);
  assert.equal(other.statusCode, 400);
  await other.body.dump();
});

test("who leaves, or takes nothing, ends git", async () => {
  const abort = new AbortController();
  const headers = { "git-protocol": "version=2" };
  const path = `${nodePaths.git(id)}/git-upload-pack`;
  const left = await node.send("POST", path, fetchBody(oid, "2"), { headers, signal: abort.signal });
  assert.ok(gitsAtWork() > 0);
  left.body.on("error", () => {});
  abort.abort();
  await until("git is gone", () => gitsAtWork() === 0);
  const stalled = await node.send("POST", path, fetchBody(oid, "2"), { headers });
  assert.ok(gitsAtWork() > 0);
  stalled.body.on("error", () => {});
  await until("git is gone", () => gitsAtWork() === 0);
  stalled.body.destroy();
});

test("where a replica cannot be read, the status says so, and another one can be asked", async () => {
  const breaks: ((directory: string) => void)[] = [
    (directory) => git(directory, ["config", "core.repositoryFormatVersion", "99"]),
    (directory) => writeFileSync(join(directory, "config"), "[core\n"),
    (directory) => rmSync(join(directory, "HEAD")),
  ];
  for (const breakIt of breaks) {
    const broken = await node.create();
    breakIt(node.replica(broken));
    const answer = await node.send("POST", `${nodePaths.git(broken)}/git-upload-pack`, fetchBody(oid, "2"), {
      headers: { "git-protocol": "version=2" },
    });
    const text = await answer.body.text();
    assert.equal(answer.statusCode, 500, `${String(breakIt)}: ${text}`);
    assert.equal((JSON.parse(text) as { code: string }).code, "git-failed");
  }
});

test("a request that no replica would answer gets git's words, in its protocol", async () => {
  const body = `${pkt("command=fetch")}0001${pkt("filter nonsense\n")}${pkt(`want ${oid}\n`)}${pkt("done\n")}0000`;
  const answer = await uploadPack(body, { "git-protocol": "version=2" });
  assert.equal(answer.status, 200);
  assert.match(answer.body.toString(), /^[0-9a-f]{4}ERR upload-pack: invalid filter-spec 'nonsense'/);
});

test("git itself clones, shallow and partial as well", async () => {
  const run = promisify(execFile);
  const configuration = ["-c", `http.extraHeader=Authorization: Bearer ${testSecret}`];
  for (const [name, ...options] of [
    ["full"],
    ["shallow", "--depth=1"],
    ["partial", "--filter=blob:none", "--no-checkout"],
  ]) {
    const target = join(nodes.directory, name ?? "");
    await run("git", [...configuration, "clone", "-q", ...options, node.gitUrl(id), target]);
    assert.equal(git(target, ["rev-parse", "HEAD"]).toString().trim(), oid);
  }
});
