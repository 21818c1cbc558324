import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { GitmeshError } from "../base/errors.ts";
import type { RefSet } from "./advertisement.ts";
import { lsRefsResponse, parseV2Request, type V2Request } from "./ls-refs.ts";
import { delimPkt, flushPkt, pktLine, PktReader, responseEndPkt } from "./pkt-line.ts";
import { inChunks } from "./testing/chunks.ts";
import { GitOracle, sampleRepository } from "./testing/git-oracle.ts";

function encode({ command, capabilities, args }: V2Request): Buffer {
  const lines = (texts: readonly string[]): Buffer[] =>
    texts.map((text) => pktLine(Buffer.from(`${text}\n`, "latin1")));
  return Buffer.concat([...lines([`command=${command}`, ...capabilities]), delimPkt, ...lines(args), flushPkt]);
}

function read(bytes: Uint8Array, sizes: readonly number[] = []): Promise<V2Request> {
  return parseV2Request(new PktReader(inChunks(bytes, sizes)));
}

/** git's own answer, as text of one character a byte. */
function gitAnswer(oracle: GitOracle, name: string, set: RefSet, args: readonly string[]): string {
  const request = encode({ command: "ls-refs", capabilities: [`object-format=${set.objectFormat}`], args });
  return oracle.serve("upload-pack", "--stateless-rpc", name, "version=2", request).toString("latin1");
}

const flags = ["peel", "symrefs", "unborn"];
const argLists: readonly (readonly string[])[] = [
  [],
  ...flags.map((flag) => [flag]),
  flags,
  [...flags, "ref-prefix HEAD"],
  [...flags, "ref-prefix refs/heads/", "ref-prefix refs/tags/", "ref-prefix HEAD"],
  ["peel", "ref-prefix refs/tags/v1"],
  ["peel", "ref-prefix refs/tags/v1", "ref-prefix refs/tags/v1.0", "ref-prefix refs/tags/"],
  ["ref-prefix refs/heads/master", "ref-prefix refs/heads/master-2", "ref-prefix refs/heads/a"],
  ["ref-prefix refs/heads/a/b/c/d", "ref-prefix nothing"],
  ["ref-prefix refs/heads/\xff", "ref-prefix refs/heads/\xc3"],
  ["symrefs", "ref-prefix "],
  ["symrefs", "ref-prefix H"],
  ["symrefs", "ref-prefix HEADS"],
  ["peel", "peel", "ref-prefix refs/notes/", "ref-prefix refs/notes/", "ref-prefix r"],
];

test("answers are byte for byte git's", () => {
  using oracle = new GitOracle();
  for (const format of ["sha1", "sha256"] as const) {
    let set = sampleRepository(oracle, format, format);
    for (const args of argLists) {
      assert.equal(lsRefsResponse(set, args).toString("latin1"), gitAnswer(oracle, format, set, args), args.join(", "));
    }
    oracle.run(["symbolic-ref", "HEAD", "refs/heads/unborn"], { in: format });
    set = oracle.refSet(format, format);
    assert.match(
      lsRefsResponse(set, flags).toString("latin1"),
      /^[0-9a-f]{4}unborn HEAD symref-target:refs\/heads\/unborn\n/,
    );
    for (const args of argLists) {
      assert.equal(
        lsRefsResponse(set, args).toString("latin1"),
        gitAnswer(oracle, format, set, args),
        `unborn: ${args.join(", ")}`,
      );
    }
    oracle.run(["update-ref", "--no-deref", "refs/x/tag", "refs/tags/v1.0"], { in: format });
    oracle.run(["symbolic-ref", "HEAD", "refs/x/tag"], { in: format });
    set = oracle.refSet(format, format);
    assert.equal(lsRefsResponse(set, flags).toString("latin1"), gitAnswer(oracle, format, set, flags), "HEAD on a tag");
  }
  oracle.init("empty", "sha1", "trunk");
  const empty = oracle.refSet("empty");
  for (const args of argLists) {
    assert.equal(
      lsRefsResponse(empty, args).toString("latin1"),
      gitAnswer(oracle, "empty", empty, args),
      `empty: ${args.join(", ")}`,
    );
  }
});

test("random prefixes select what git selects", () => {
  using oracle = new GitOracle();
  const set = sampleRepository(oracle, "r");
  const name = fc.constantFrom("HEAD", ...set.refs.map((ref) => ref.name));
  const prefix = fc.tuple(name, fc.nat({ max: 25 })).map(([text, length]) => `ref-prefix ${text.slice(0, length)}`);
  fc.assert(
    fc.property(fc.array(prefix, { maxLength: 5 }), fc.subarray(flags), (prefixes, some) => {
      const args = [...some, ...prefixes];
      assert.equal(lsRefsResponse(set, args).toString("latin1"), gitAnswer(oracle, "r", set, args));
    }),
    { numRuns: 60 },
  );
});

test("so many prefixes that git ignores them are ignored at the same number", () => {
  using oracle = new GitOracle();
  const set = sampleRepository(oracle, "r");
  for (const count of [65_535, 65_536]) {
    const args = Array.from({ length: count }, () => "ref-prefix refs/tags/");
    assert.equal(lsRefsResponse(set, args).toString("latin1"), gitAnswer(oracle, "r", set, args), `${count}`);
  }
  const all = lsRefsResponse(set, []);
  assert.deepEqual(
    lsRefsResponse(
      set,
      Array.from({ length: 65_536 }, () => "ref-prefix refs/tags/"),
    ),
    all,
  );
});

test("arguments that git does not know are refused, as git does", () => {
  using oracle = new GitOracle();
  const set = sampleRepository(oracle, "r");
  for (const arg of ["", "Peel", "peel ", "ref-prefix", "ref-prefixes x", "want abc"]) {
    assert.throws(
      () => lsRefsResponse(set, [arg]),
      (error) => error instanceof GitmeshError && error.code === "bad-request",
      arg,
    );
    assert.throws(() => gitAnswer(oracle, "r", set, [arg]), arg);
  }
});

test("what is sent is read, however it is cut", async () => {
  const line = fc
    .string({ unit: "binary-ascii", minLength: 1, maxLength: 40 })
    .filter((text) => !text.startsWith("command=") && !text.endsWith("\n"));
  const anyRequest = fc.record(
    { command: fc.constantFrom("ls-refs", "fetch", "x"), capabilities: fc.array(line), args: fc.array(line) },
    { noNullPrototype: true },
  );
  await fc.assert(
    fc.asyncProperty(
      anyRequest,
      fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }),
      async (request, sizes) => {
        assert.deepEqual(await read(encode(request), sizes), request);
      },
    ),
  );
});

test("a request needs no arguments, and names are bytes", async () => {
  const bare = await read(Buffer.concat([pktLine("command=ls-refs"), pktLine("agent=x\n"), flushPkt]));
  assert.deepEqual(bare, { command: "ls-refs", capabilities: ["agent=x"], args: [] });
  const named = await read(
    Buffer.concat([pktLine("command=ls-refs\n"), delimPkt, pktLine("ref-prefix refs/heads/ä"), flushPkt]),
  );
  assert.deepEqual(named.args, ["ref-prefix refs/heads/\xc3\xa4"]);
});

test("a flush alone, or nothing, is a request without a command", async () => {
  for (const bytes of [flushPkt, Buffer.alloc(0)]) assert.equal((await read(bytes)).command, "");
});

test("malformed requests are refused at every byte and never end in anything else", async () => {
  const whole = encode({ command: "ls-refs", capabilities: ["agent=x"], args: ["peel", "ref-prefix refs/heads/"] });
  const badRequest = (error: unknown): boolean => error instanceof GitmeshError && error.code === "bad-request";
  for (let length = 1; length < whole.length; length += 1) {
    await assert.rejects(read(whole.subarray(0, length)), badRequest, `${length} bytes`);
  }
  const command = pktLine("command=ls-refs");
  for (const parts of [
    [command, command, flushPkt],
    [pktLine("agent=x"), flushPkt],
    [delimPkt, pktLine("peel"), flushPkt],
    [command, delimPkt, pktLine("peel"), delimPkt, flushPkt],
    [command, responseEndPkt],
    [delimPkt],
    [delimPkt, flushPkt],
  ]) {
    await assert.rejects(read(Buffer.concat(parts)), badRequest);
  }
  await assert.rejects(read(Buffer.concat([command, ...Array.from({ length: 300 }, () => pktLine("x")), flushPkt])), {
    code: "too-large",
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat({ max: whole.length - 1 }), fc.nat({ max: 255 })), { minLength: 1, maxLength: 4 }),
      async (changes) => {
        const bytes = Buffer.from(whole);
        for (const [at, byte] of changes) bytes[at] = byte;
        try {
          await read(bytes);
        } catch (error) {
          assert.ok(error instanceof GitmeshError, String(error));
        }
      },
    ),
    { numRuns: 500 },
  );
});
