import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { typesIn } from "./pack-index.ts";

let directory: string;
let pack: string;
const git = (args: string[], input = ""): string =>
  execFileSync("git", args, { cwd: directory, input, encoding: "latin1" }).trim();

before(() => {
  directory = mkdtempSync(join(tmpdir(), "gitmesh-pack-index-"));
  git(["init", "-q", "-b", "master"]);
  git(["config", "user.name", "A"]);
  git(["config", "user.email", "a@example.com"]);
  for (let index = 0; index < 300; index += 1)
    git(["commit", "-q", "--allow-empty", "-m", `${"line\n".repeat(50)}${index}`]);
  git(["tag", "-a", "-m", "a tag", "v1"]);
  git(["repack", "-q", "-a", "-d", "-f", "--depth=50", "--window=50"]);
  const [index = ""] = readdirSync(join(directory, ".git/objects/pack")).filter((name) => name.endsWith(".idx"));
  pack = join(directory, ".git/objects/pack", index.slice(0, -4));
});

after(() => rmSync(directory, { recursive: true }));

test("the type of each object is found, also of deltas of either kind; what is not there is not", async () => {
  const objects = verified();
  assert.ok(objects.filter(({ isDelta }) => isDelta).length > 50);
  assert.deepEqual([...new Set(objects.map(({ type }) => type))].toSorted(), ["commit", "tag", "tree"]);
  const absent = ["0".repeat(40), "f".repeat(40), "1".repeat(40)];
  const asked = [...objects.map(({ oid }) => oid), ...absent];
  const expected = objects.map(({ oid, type }): [string, string] => [oid, type]);
  assert.deepEqual([...(await typesIn(pack, asked))], expected);
  // The same pack with deltas that name their base, as a client may send it.
  const names = join(directory, "names");
  const sent = execFileSync("git", ["pack-objects", "--all", "--stdout", "--no-reuse-object"], {
    cwd: directory,
    input: "",
  });
  writeFileSync(`${names}.pack`, sent);
  git(["index-pack", `${names}.pack`]);
  assert.deepEqual([...(await typesIn(names, asked))], expected);
});

interface Verified {
  readonly oid: string;
  readonly type: string;
  readonly isDelta: boolean;
}

function verified(): Verified[] {
  return git(["verify-pack", "-v", `${pack}.idx`])
    .split("\n")
    .flatMap((text) => {
      const [oid = "", type = "", ...fields] = text.split(/\s+/);
      return /^[0-9a-f]{40}$/.test(oid) ? [{ oid, type, isDelta: fields.length > 3 }] : [];
    });
}

test("a file cut short is an error", async () => {
  truncateSync(`${pack}.idx`, 2000);
  await assert.rejects(typesIn(pack, [git(["rev-parse", "HEAD"])]), RangeError);
});
