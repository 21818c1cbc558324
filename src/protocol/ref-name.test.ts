import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { flushPkt, pktLine, PktReader } from "./pkt-line.ts";
import {
  checkRefName,
  isObjectId,
  isZeroOid,
  refNameFromBytes,
  refNameFromText,
  refNameText,
  refNameToBytes,
  zeroOid,
} from "./ref-name.ts";
import { inChunks } from "./testing/chunks.ts";
import { GitOracle } from "./testing/git-oracle.ts";

/** Pieces that the rules are about, between pieces that they are not about. */
const piece = fc.oneof(
  fc.constantFrom(
    "a",
    "B",
    "0",
    "-",
    "_",
    "@",
    "{",
    "}",
    "@{",
    ".",
    "..",
    "/",
    "//",
    ".lock",
    ".LOCK",
    "lock",
    "HEAD",
    "refs",
  ),
  fc.constantFrom(
    " ",
    "~",
    "^",
    ":",
    "?",
    "*",
    "[",
    "]",
    "\\",
    "\t",
    "\n",
    "\x01",
    "\x1f",
    "\x7f",
    "\x80",
    "\xa0",
    "\xff",
    "\xc3\xa4",
    "'",
    '"',
    "$",
    "%",
    "|",
  ),
);
const pieces = fc.array(piece, { minLength: 1, maxLength: 6 }).map((parts) => parts.join(""));
const anyName = fc.oneof(
  { weight: 6, arbitrary: pieces.map((text) => `refs/heads/${text}`) },
  { weight: 3, arbitrary: pieces.map((text) => `refs/${text}`) },
  pieces,
);

/** What receive-pack thinks of these names: whether it calls each a "funny refname". Deletes change nothing. */
async function funnyNames(oracle: GitOracle, repository: string, names: readonly string[]): Promise<boolean[]> {
  const old = oracle.refSet(repository).refs[0]?.oid ?? "";
  const lines = names.map((name, index) => {
    const capabilities = index === 0 ? "\0report-status delete-refs" : "";
    return pktLine(Buffer.from(`${old} ${zeroOid("sha1")} ${name}${capabilities}`, "latin1"));
  });
  const output = oracle.serve(
    "receive-pack",
    "--stateless-rpc",
    repository,
    "version=0",
    Buffer.concat([...lines, flushPkt]),
  );
  const reader = new PktReader(inChunks(output));
  assert.deepEqual(await reader.next(), { kind: "data", data: Buffer.from("unpack ok\n") });
  const verdicts: boolean[] = [];
  for (const name of names) {
    const pkt = await reader.next();
    const line = pkt?.kind === "data" ? pkt.data.toString("latin1") : "";
    const told = line.startsWith(`ok ${name}`) || line.startsWith(`ng ${name} `);
    assert.ok(told, `an answer about ${JSON.stringify(name)}: ${JSON.stringify(line)}`);
    verdicts.push(line.endsWith(" funny refname\n"));
  }
  return verdicts;
}

test("names are refused if and only if git's receive-pack calls them funny", async () => {
  using oracle = new GitOracle();
  oracle.init("r");
  oracle.createRefs("r", [["refs/keep/me", oracle.commit("r", "one")]]);
  const table = [
    "HEAD",
    "refs",
    "refs/",
    "refs/stash",
    "refs/x/y",
    "refs//x",
    "refs/heads/@",
    "refs/heads/.x",
    "refs/heads/x.",
    "refs/heads/x/",
  ];
  const sampled = fc.sample(anyName, 3000).filter((name) => name !== "refs/keep/me");
  // A newline at the end belongs to the pkt-line; a name twice would be refused for that.
  const names = [...new Set([...table, ...sampled])].filter((name) => !name.endsWith("\n"));
  const funny = await funnyNames(oracle, "r", names);
  const valid = funny.filter((isFunny) => !isFunny).length;
  assert.ok(
    valid > 100 && funny.length - valid > 100,
    `both kinds are among them: ${valid} of ${funny.length} are valid`,
  );
  for (const [index, name] of names.entries()) {
    assert.equal(checkRefName(name) !== undefined, funny[index], `${JSON.stringify(name)}: ${checkRefName(name)}`);
  }
});

test("git check-ref-format agrees on every name that an argument can hold", () => {
  using oracle = new GitOracle();
  fc.assert(
    fc.property(pieces, (text) => {
      const name = `refs/heads/${text}`;
      // Arguments are sent as UTF-8: the name that git sees is the one of that text.
      let accepted = true;
      try {
        oracle.run(["check-ref-format", name]);
      } catch {
        accepted = false;
      }
      assert.equal(checkRefName(refNameFromText(name)) === undefined, accepted, JSON.stringify(name));
    }),
    { numRuns: 150 },
  );
});

test("control characters, NUL included, are refused; every other byte is not", () => {
  for (let byte = 0; byte < 256; byte += 1) {
    const forbidden = byte <= 0x20 || byte === 0x7f || "~^:?*[\\".includes(String.fromCharCode(byte));
    const reason = checkRefName(`refs/heads/a${String.fromCharCode(byte)}b`);
    assert.equal(reason !== undefined, forbidden, `byte ${byte}`);
  }
});

test("lengths leave room for git's lock files and the stores' keys", () => {
  assert.equal(checkRefName(`refs/heads/${"a".repeat(250)}`), undefined);
  assert.match(checkRefName(`refs/heads/${"a".repeat(251)}`) ?? "", /longer than 250 bytes/);
  assert.match(checkRefName(refNameFromText(`refs/heads/${"ä".repeat(126)}`)) ?? "", /longer than 250 bytes/);
  const long = `refs/heads/${"abcdefghi/".repeat(98)}${"x".repeat(9)}`;
  assert.equal(long.length, 1000);
  assert.equal(checkRefName(long), undefined);
  assert.match(checkRefName(`${long}x`) ?? "", /longer than 1000 bytes/);
});

test("bytes and text survive the way there and back", () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) =>
      assert.deepEqual(refNameToBytes(refNameFromBytes(bytes)), Buffer.from(bytes)),
    ),
  );
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => assert.equal(refNameText(refNameFromText(text)), text)),
  );
  assert.ok(
    refNameFromText("refs/heads/\u{10ffff}") > refNameFromText("refs/heads/\uffff"),
    "order is that of the bytes",
  );
});

test("object ids have their format's length, in lower case", () => {
  for (const [format, length] of [
    ["sha1", 40],
    ["sha256", 64],
  ] as const) {
    assert.equal(isObjectId("a".repeat(length), format), true);
    for (const text of [
      "a".repeat(length - 1),
      "a".repeat(length + 1),
      "A".repeat(length),
      "g".repeat(length),
      `${"a".repeat(length - 1)}\n`,
      "",
    ]) {
      assert.equal(isObjectId(text, format), false, JSON.stringify(text));
    }
    assert.equal(zeroOid(format).length, length);
    assert.equal(isZeroOid(zeroOid(format)), true);
    assert.equal(isZeroOid(`${"0".repeat(length - 1)}1`), false);
  }
});
