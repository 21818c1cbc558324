import assert from "node:assert/strict";
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { GitmeshError, type ErrorCode } from "../base/errors.ts";
import { receivePackAdvertisement, type RefSet } from "./advertisement.ts";
import { delimPkt, flushPkt, pktLine, PktReader } from "./pkt-line.ts";
import { parseReceivePackRequest, type ReceivePackCommand, type ReceivePackRequest } from "./receive-pack-request.ts";
import { refNameToBytes, zeroOid } from "./ref-name.ts";
import { collect, inChunks } from "./testing/chunks.ts";
import { GitOracle } from "./testing/git-oracle.ts";

type Format = "sha1" | "sha256";
const limits = { commandsMax: 1000 };
const a = "a".repeat(40);
const b = "b".repeat(40);
const zero = zeroOid("sha1");

function read(bytes: Uint8Array, format: Format = "sha1", sizes: readonly number[] = []): Promise<ReceivePackRequest> {
  return parseReceivePackRequest(new PktReader(inChunks(bytes, sizes)), limits, format);
}

function lines(...parts: readonly (string | Buffer)[]): Buffer {
  return Buffer.concat(parts.map((part) => (typeof part === "string" ? pktLine(part) : part)));
}

async function refuses(bytes: Uint8Array, code: ErrorCode, detail: RegExp, format: Format = "sha1"): Promise<void> {
  await assert.rejects(read(bytes, format), (error) => {
    assert.ok(error instanceof GitmeshError);
    assert.deepEqual([error.code, detail.test(error.message)], [code, true], error.message);
    return true;
  });
}

interface Sent {
  readonly format: Format;
  readonly shallows: readonly string[];
  readonly commands: readonly ReceivePackCommand[];
  readonly capabilities: readonly string[];
  readonly pushOptions: readonly string[] | undefined;
}

function encode({ format, shallows, commands, capabilities, pushOptions }: Sent): Buffer {
  const none = zeroOid(format);
  const words = [...capabilities, `object-format=${format}`, ...(pushOptions === undefined ? [] : ["push-options"])];
  const commandLines = commands.map(({ name, oldOid, newOid }, index) => {
    const tail = index === 0 ? `\0 ${words.join(" ")}` : "";
    return pktLine(
      Buffer.concat([Buffer.from(`${oldOid ?? none} ${newOid ?? none} `), refNameToBytes(name), Buffer.from(tail)]),
    );
  });
  const options = pushOptions === undefined ? [] : [...pushOptions.map((option) => pktLine(option)), flushPkt];
  return Buffer.concat([...shallows.map((oid) => pktLine(`shallow ${oid}`)), ...commandLines, flushPkt, ...options]);
}

const anySent: fc.Arbitrary<Sent> = fc.constantFrom<Format>("sha1", "sha256").chain((format) => {
  const length = format === "sha1" ? 40 : 64;
  const oid = fc.string({
    unit: fc.constantFrom(...Array.from("0123456789abcdef")),
    minLength: length,
    maxLength: length,
  });
  // Any bytes at all but NUL, and no newline at the end: that belongs to the line.
  const name = fc
    .uint8Array({ minLength: 1, maxLength: 60 })
    .map((bytes) => Buffer.from(bytes).toString("latin1").replaceAll("\0", "").replace(/\n$/, ""))
    .filter((text) => text !== "" && !text.endsWith("\n"));
  const command = fc.record(
    { name, oldOid: fc.option(oid, { nil: undefined }), newOid: fc.option(oid, { nil: undefined }) },
    { noNullPrototype: true },
  );
  return fc.record({
    format: fc.constant(format),
    shallows: fc.array(oid, { maxLength: 3 }),
    commands: fc.array(command, { minLength: 1, maxLength: 6 }),
    capabilities: fc.subarray([
      "report-status",
      "report-status-v2",
      "side-band-64k",
      "atomic",
      "quiet",
      "agent=git/2.39.5",
      "unheard-of",
    ]),
    pushOptions: fc.option(
      fc.array(
        fc.string({ maxLength: 50 }).filter((text) => !text.endsWith("\n")),
        { maxLength: 4 },
      ),
      { nil: undefined },
    ),
  });
});

test("what is sent is read, however it is cut, and the pack follows", async () => {
  await fc.assert(
    fc.asyncProperty(anySent, fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1 }), async (sent, sizes) => {
      const pack = Buffer.from("PACK and so on");
      const reader = new PktReader(inChunks(Buffer.concat([encode(sent), pack]), sizes));
      const request = await parseReceivePackRequest(reader, limits, sent.format);
      assert.deepEqual(request.commands, sent.commands);
      assert.deepEqual(request.shallows, sent.shallows);
      assert.deepEqual(request.pushOptions, sent.pushOptions ?? []);
      const has = (word: string): boolean => sent.capabilities.includes(word);
      assert.equal(request.reportStatus, has("report-status-v2") ? "v2" : has("report-status") ? "v1" : undefined);
      assert.equal(request.sideBand, has("side-band-64k"));
      assert.equal(request.atomic, has("atomic"));
      assert.equal(request.quiet, has("quiet"));
      assert.equal(request.capabilities.get("agent"), has("agent=git/2.39.5") ? "git/2.39.5" : undefined);
      assert.equal(request.capabilities.get("unheard-of"), has("unheard-of") ? true : undefined);
      assert.equal(request.empty, false);
      assert.deepEqual(await collect(reader.rest()), pack);
    }),
  );
});

test("nothing but a flush, or nothing at all, is an empty request", async () => {
  for (const bytes of [Buffer.alloc(0), flushPkt]) {
    const request = await read(bytes);
    assert.deepEqual([request.empty, request.commands], [true, []]);
  }
  assert.equal((await read(lines(`shallow ${a}`, flushPkt))).empty, true);
});

test("names that git forbids, and commands without effect, are left to the caller", async () => {
  const request = await read(
    lines(`${zero} ${zero} refs/heads/x\0report-status\n`, `${a} ${b} ../../etc/passwd\n`, flushPkt),
  );
  assert.deepEqual(request.commands, [
    { name: "refs/heads/x", oldOid: undefined, newOid: undefined },
    { name: "../../etc/passwd", oldOid: a, newOid: b },
  ]);
});

test("malformed requests are refused with the reason", async () => {
  const command = `${a} ${b} refs/heads/x`;
  const malformed = /not 'old new ref'/;
  for (const line of [
    "x",
    "",
    "\n",
    "\0",
    command.slice(0, 81),
    command.slice(0, 82),
    `${a}  ${b} refs/heads/x`,
    `${a}_${b} refs/heads/x`,
    `${"A".repeat(40)} ${b} r`,
    `${a} ${"g".repeat(40)} r`,
    `${a} ${b}0 refs/heads/x`,
    "push-ce",
  ]) {
    await refuses(lines(line, flushPkt), "bad-request", malformed);
  }
  await refuses(lines("push-cert\0report-status\n", flushPkt), "bad-request", /signed pushes/);
  await refuses(lines("shallow abc", flushPkt), "bad-request", /shallow line/);
  await refuses(lines(`shallow ${"c".repeat(64)}`, flushPkt), "bad-request", /shallow line/);
  await refuses(lines(command, delimPkt), "bad-request", /special pkt-line/);
  await refuses(lines(command), "bad-request", /ends in the middle of its commands/);
  await refuses(lines(`shallow ${a}`), "bad-request", /ends in the middle of its commands/);
  await refuses(lines(`${command}\0push-options`, flushPkt, "one"), "bad-request", /push options do not end/);
  await refuses(lines(`${command}\0push-options`, flushPkt, "one", delimPkt), "bad-request", /push options do not end/);
});

test("an object format that is not the repository's is told as that", async () => {
  const sha256 = `${"c".repeat(64)} ${"d".repeat(64)} refs/heads/x`;
  await refuses(
    lines(`${sha256}\0object-format=sha256`, flushPkt),
    "bad-request",
    /format sha256, the repository in sha1/,
  );
  await refuses(
    lines(`${a} ${b} refs/heads/x\0report-status`, flushPkt),
    "bad-request",
    /format sha1, the repository in sha256/,
    "sha256",
  );
  await refuses(lines(sha256, flushPkt), "bad-request", /format sha1, the repository in sha256/, "sha256");
  assert.equal((await read(lines(`${sha256}\0object-format=sha256`, flushPkt), "sha256")).commands.length, 1);
});

test("every list has its limit", async () => {
  const commands = (count: number): string[] =>
    Array.from({ length: count }, (_, index) => `${a} ${b} refs/heads/${index}`);
  assert.equal((await read(lines(...commands(1000), flushPkt))).commands.length, 1000);
  await refuses(lines(...commands(1001), flushPkt), "too-large", /more than 1000 ref updates/);
  const first = `${a} ${b} refs/heads/x\0push-options`;
  await refuses(
    lines(first, flushPkt, ...Array.from({ length: 65 }, () => "o"), flushPkt),
    "too-large",
    /push options/,
  );
  await refuses(lines(first, flushPkt, "o".repeat(4097), flushPkt), "too-large", /push options/);
  assert.equal(
    (await read(lines(first, flushPkt, ...Array.from({ length: 64 }, () => "o".repeat(4096)), flushPkt))).pushOptions
      .length,
    64,
  );
  async function* endless(): AsyncGenerator<Buffer> {
    for (;;) yield pktLine(`shallow ${a}`);
  }
  await assert.rejects(parseReceivePackRequest(new PktReader(endless()), limits, "sha1"), { code: "too-large" });
  async function* longNames(): AsyncGenerator<Buffer> {
    for (;;) yield pktLine(`${a} ${b} refs/heads/${"n".repeat(60_000)}`);
  }
  await assert.rejects(parseReceivePackRequest(new PktReader(longNames()), { commandsMax: 1e6 }, "sha1"), {
    code: "too-large",
  });
});

test("a request cut off at any byte is refused or is a shorter one, and never anything else", async () => {
  const whole = lines(
    `shallow ${a}`,
    `${a} ${b} refs/heads/x\0report-status push-options\n`,
    `${zero} ${a} refs/tags/y\n`,
    flushPkt,
    "option",
    flushPkt,
  );
  for (let length = 1; length < whole.length; length += 1) {
    await refuses(whole.subarray(0, length), "bad-request", /./);
  }
  assert.equal((await read(whole)).commands.length, 2);
});

test("mutated requests end, with a request or a refusal of the catalogue", async () => {
  const mutation = fc.record({
    at: fc.nat(),
    byte: fc.nat({ max: 255 }),
    kind: fc.constantFrom("set", "insert", "remove"),
  });
  await fc.assert(
    fc.asyncProperty(anySent, fc.array(mutation, { minLength: 1, maxLength: 5 }), async (sent, mutations) => {
      const bytes = [...encode(sent)];
      for (const { at, byte, kind } of mutations) {
        const index = at % (bytes.length + 1);
        if (kind === "insert") bytes.splice(index, 0, byte);
        else if (kind === "remove") bytes.splice(index, 1);
        else bytes[index % bytes.length] = byte;
      }
      try {
        await read(Buffer.from(bytes), sent.format);
      } catch (error) {
        assert.ok(error instanceof GitmeshError, String(error));
        assert.ok(error.code === "bad-request" || error.code === "too-large");
      }
    }),
    { numRuns: 500 },
  );
});

/** Has git push from `from` to a server that announces `set`, and returns what it sends. */
function recordPush(oracle: GitOracle, from: string, set: RefSet, args: readonly string[]): Buffer {
  const path = (name: string): string => join(oracle.directory, name);
  const advertisement = receivePackAdvertisement(0, set, "gitmesh/test");
  // Without the service line in front, as over a pipe.
  writeFileSync(path("advertisement"), advertisement.subarray(advertisement.indexOf("0000") + 4));
  writeFileSync(path("record"), `#!/bin/sh\ncat '${path("advertisement")}'\ncat >'${path("recorded")}'\n`);
  chmodSync(path("record"), 0o755);
  rmSync(path("recorded"), { force: true });
  try {
    oracle.run(["push", "-q", `--receive-pack=${path("record")}`, ...args], { in: from });
  } catch {
    // The recorder sends no report.
  }
  assert.ok(existsSync(path("recorded")), "git spoke to the recorder");
  return readFileSync(path("recorded"));
}

test("what git itself sends is understood: options, deletes, sha256, shallow clones", async () => {
  using oracle = new GitOracle();
  for (const format of ["sha1", "sha256"] as const) {
    const from = `from-${format}`;
    oracle.init(from, format);
    oracle.init(`to-${format}`, format);
    const commit = oracle.commit(from, "one");
    oracle.createRefs(from, [
      ["refs/heads/\xff", commit],
      ["refs/heads/master", commit],
    ]);
    const set: RefSet = {
      objectFormat: format,
      defaultBranch: "refs/heads/master",
      refs: [{ name: "refs/heads/old", oid: commit, peeled: undefined }],
    };
    const refspecs = ["refs/heads/*:refs/heads/*", ":refs/heads/old"];
    const recorded = recordPush(oracle, from, set, [
      "--atomic",
      "--push-option=a=b",
      "--push-option=ü",
      `../to-${format}`,
      ...refspecs,
    ]);
    const reader = new PktReader(inChunks(recorded, [100]));
    const request = await parseReceivePackRequest(reader, limits, format);
    assert.deepEqual(
      request.commands.toSorted((one, other) => (one.name < other.name ? -1 : 1)),
      [
        { name: "refs/heads/master", oldOid: undefined, newOid: commit },
        { name: "refs/heads/old", oldOid: commit, newOid: undefined },
        { name: "refs/heads/\xff", oldOid: undefined, newOid: commit },
      ],
    );
    assert.deepEqual([request.reportStatus, request.sideBand, request.atomic, request.quiet], ["v2", true, true, true]);
    assert.deepEqual(request.pushOptions, ["a=b", "ü"]);
    assert.equal(request.capabilities.get("object-format"), format);
    assert.equal((await collect(reader.rest())).toString("latin1", 0, 4), "PACK");
  }
  const parent = oracle.refSet("from-sha1").refs[0]?.oid ?? "";
  const child = oracle
    .run(["commit-tree", "-p", parent, "-m", "two", `${parent}^{tree}`], { in: "from-sha1" })
    .toString()
    .trim();
  oracle.createRefs("from-sha1", [["refs/heads/two", child]]);
  oracle.run([
    "clone",
    "-q",
    "--bare",
    "--depth=1",
    "--branch=two",
    `file://${join(oracle.directory, "from-sha1")}`,
    "shallow",
  ]);
  const empty: RefSet = { objectFormat: "sha1", defaultBranch: "refs/heads/master", refs: [] };
  const request = await read(recordPush(oracle, "shallow", empty, ["../to-sha1", "two"]));
  assert.deepEqual(request.shallows, [child]);
  assert.deepEqual(request.commands, [{ name: "refs/heads/two", oldOid: undefined, newOid: child }]);
});
