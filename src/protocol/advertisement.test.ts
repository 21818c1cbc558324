import assert from "node:assert/strict";
import { test } from "node:test";
import {
  errorAdvertisement,
  firstAtOrAfter,
  parseGitProtocol,
  receivePackAdvertisement,
  refOf,
  uploadPackAdvertisement,
  uploadPackAdvertisementV2,
  type RefSet,
} from "./advertisement.ts";
import { GitOracle, sampleRepository } from "./testing/git-oracle.ts";

const formats = ["sha1", "sha256"] as const;

/** What git's http-backend puts in front in protocol v0 and v1. */
const serviceLine = {
  "upload-pack": "001e# service=git-upload-pack\n0000",
  "receive-pack": "001f# service=git-receive-pack\n0000",
};

/** What git announces on the repository, as text of one character a byte. */
function announced(
  oracle: GitOracle,
  program: "upload-pack" | "receive-pack",
  name: string,
  version: 0 | 1 | 2,
): string {
  const body = oracle.serve(program, "--http-backend-info-refs", name, `version=${version}`);
  return serviceLine[program] + body.toString("latin1");
}

function agentOf(oracle: GitOracle): string {
  return `git/${oracle.run(["version"]).toString().trim().split(" ")[2]}`;
}

test("v0 and v1 are byte for byte what git announces", () => {
  using oracle = new GitOracle();
  const agent = agentOf(oracle);
  for (const format of formats) {
    const set = sampleRepository(oracle, format, format);
    assert.ok(set.refs.some((ref) => ref.peeled !== undefined));
    for (const version of [0, 1] as const) {
      assert.equal(
        uploadPackAdvertisement(version, set, agent).toString("latin1"),
        announced(oracle, "upload-pack", format, version),
      );
      assert.equal(
        receivePackAdvertisement(version, set, agent).toString("latin1"),
        announced(oracle, "receive-pack", format, version),
      );
    }
    // HEAD on a branch that does not exist yet: no HEAD line, no symref.
    oracle.run(["symbolic-ref", "HEAD", "refs/heads/unborn"], { in: format });
    const unborn = oracle.refSet(format, format);
    assert.equal(unborn.defaultBranch, "refs/heads/unborn");
    assert.equal(
      uploadPackAdvertisement(0, unborn, agent).toString("latin1"),
      announced(oracle, "upload-pack", format, 0),
    );
    // HEAD on an annotated tag is peeled as well.
    oracle.run(["update-ref", "--no-deref", "refs/x/tag", "refs/tags/v1"], { in: format });
    oracle.run(["symbolic-ref", "HEAD", "refs/x/tag"], { in: format });
    const tagged = oracle.refSet(format, format);
    assert.equal(
      uploadPackAdvertisement(0, tagged, agent).toString("latin1"),
      announced(oracle, "upload-pack", format, 0),
    );
  }
});

test("an empty repository announces its capabilities all the same", () => {
  using oracle = new GitOracle();
  const agent = agentOf(oracle);
  for (const format of formats) {
    oracle.init(format, format, "trunk");
    const set = oracle.refSet(format, format);
    assert.deepEqual(set, { objectFormat: format, defaultBranch: "refs/heads/trunk", refs: [] });
    for (const version of [0, 1] as const) {
      assert.equal(
        receivePackAdvertisement(version, set, agent).toString("latin1"),
        announced(oracle, "receive-pack", format, version),
      );
    }
    // git before 2.41 says nothing here, so that a clone in v0 could not know the object format; later ones do this.
    const text = uploadPackAdvertisement(0, set, agent).toString("latin1");
    assert.match(text, /^001e# service=git-upload-pack\n0000[0-9a-f]{4}0+ capabilities\^\{\}\0multi_ack .*\n0000$/);
    assert.ok(text.includes(` object-format=${format} `) && !text.includes("symref"));
    const sayings = Buffer.concat([Buffer.from(text.slice(text.indexOf("0000") + 4), "latin1")]);
    assert.equal(Number.parseInt(sayings.toString("latin1", 0, 4), 16), sayings.length - 4, "one pkt and a flush");
  }
});

test("v2 has git's capabilities, in its order", () => {
  using oracle = new GitOracle();
  const agent = agentOf(oracle);
  for (const format of formats) {
    oracle.init(format, format);
    // object-info is not forwarded by controllers, so that it is not announced.
    const expected = announced(oracle, "upload-pack", format, 2).replace("0010object-info\n", "");
    assert.equal(uploadPackAdvertisementV2(format, agent).toString("latin1"), expected);
  }
});

test("a Git-Protocol header asks for the highest version that is known", () => {
  const table: readonly (readonly [string | undefined, 0 | 1 | 2])[] = [
    [undefined, 0],
    ["", 0],
    ["version=0", 0],
    ["version=1", 1],
    ["version=2", 2],
    ["version=1:version=2", 2],
    ["version=2:version=1", 2],
    ["object-format=sha256:version=1", 1],
    ["version=3", 0],
    ["version=22", 0],
    ["version=", 0],
    ["xversion=2", 0],
    ["version=2 ", 0],
  ];
  for (const [header, version] of table) assert.equal(parseGitProtocol(header), version, String(header));
});

test("an error is one that git prints", () => {
  const expected = "001e# service=git-upload-pack\n0000000dERR gone\n0000";
  assert.equal(errorAdvertisement("git-upload-pack", "gone").toString(), expected);
});

test("refs are found by binary search", () => {
  const names = ["refs/heads/a", "refs/heads/a-b", "refs/heads/a/b", "refs/heads/\xff", "refs/tags/x"];
  const refs = names.map((name, index) => ({ name, oid: String(index).repeat(40), peeled: undefined }));
  const set: RefSet = { objectFormat: "sha1", defaultBranch: "refs/heads/a", refs };
  for (const ref of refs) assert.equal(refOf(set, ref.name), ref);
  for (const name of ["", "refs/heads/", "refs/heads/a/", "refs/tags/y"]) assert.equal(refOf(set, name), undefined);
  assert.deepEqual(
    ["", "refs/heads/b", "refs/heads/\xff", "zzz"].map((name) => firstAtOrAfter(refs, name)),
    [0, 3, 3, 5],
  );
});

test("50,000 refs are written in well under a second", () => {
  const oid = "a".repeat(40);
  const refs = Array.from({ length: 50_000 }, (_, index) => ({
    name: `refs/heads/${String(index).padStart(6, "0")}`,
    oid,
    peeled: undefined,
  }));
  const startMs = performance.now();
  const bytes = uploadPackAdvertisement(
    0,
    { objectFormat: "sha1", defaultBranch: "refs/heads/000000", refs },
    "gitmesh/test",
  );
  assert.ok(performance.now() - startMs < 5000);
  assert.ok(bytes.length > 50_000 * 63);
});
