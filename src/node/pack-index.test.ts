import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { commitsIn } from "./pack-index.ts";

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

test("whole commits are found, deltas and other types are not", async () => {
  const lines = git(["verify-pack", "-v", `${pack}.idx`])
    .split("\n")
    .map((line) => line.split(/\s+/));
  const objects = lines.filter(([oid = ""]) => /^[0-9a-f]{40}$/.test(oid));
  const whole = objects.filter((fields) => fields[1] === "commit" && fields.length === 5).map(([oid = ""]) => oid);
  const deltas = objects.filter((fields) => fields.length > 5);
  assert.ok(whole.length > 0 && deltas.length > 50, `${whole.length} whole, ${deltas.length} deltas`);
  const all = objects.map(([oid = ""]) => oid);
  assert.ok(objects.some(([, type]) => type === "tag") && objects.some(([, type]) => type === "tree"));
  const absent = ["0".repeat(40), "f".repeat(40), "1".repeat(40)];
  assert.deepEqual([...(await commitsIn(pack, [...all, ...absent]))].toSorted(), whole.toSorted());
});

test("a file cut short is an error", async () => {
  truncateSync(`${pack}.idx`, 2000);
  await assert.rejects(commitsIn(pack, [git(["rev-parse", "HEAD"])]), RangeError);
});
