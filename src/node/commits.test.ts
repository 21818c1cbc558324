/** What a repository server tells of commits. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { v7 as uuid } from "uuid";
import { nodePaths } from "../protocol/node-api.ts";
import { TestNodes } from "./testing/test-node.ts";

const nodes = new TestNodes();
const node = await nodes.start("node");
after(() => nodes.close());

test("commits in the order asked for; what is missing or no commit is left out", async () => {
  const source = nodes.source();
  const first = source.commit("a");
  source.text("commit", "-q", "--allow-empty", "--author=Änne <a@x>", "--date=@86400 +0000", "-m", "Größe ✓\n\nmore");
  const second = source.text("rev-parse", "HEAD");
  source.text("commit", "-q", "--allow-empty", "--allow-empty-message", "-m", "");
  const empty = source.text("rev-parse", "HEAD");
  const blob = source.text("rev-parse", "HEAD:a");
  const id = await node.create();
  assert.equal((await node.stage(id, source.pack("master"), empty)).kind, "staged");
  const answer = await node.json("POST", nodePaths.commits(id), {
    oids: [second, blob, "1".repeat(40), first, empty],
  });
  assert.equal(answer.status, 200);
  const commits = answer.body["commits"] as { oid: string; author: string; authoredS: number; subject: string }[];
  assert.deepEqual(
    commits.map(({ oid, author, subject }) => [oid, author, subject]),
    [
      [second, "Änne", "Größe ✓"],
      [first, "T", "a"],
      [empty, "T", ""],
    ],
  );
  assert.equal(commits[0]?.authoredS, 86_400);
  assert.deepEqual((await node.json("POST", nodePaths.commits(id), { oids: [] })).body["commits"], []);
  assert.deepEqual((await node.json("POST", nodePaths.commits(id), { oids: ["2".repeat(40)] })).body["commits"], []);
});

test("a subject of any length does not keep the others from being told", async () => {
  const source = nodes.source();
  const first = source.commit("b");
  // More than is taken of git's output, and not in one argument.
  const message = join(source.directory, "message");
  writeFileSync(message, "word ".repeat(2 ** 24));
  const long = source.text("commit-tree", `${first}^{tree}`, "-p", first, "-F", message);
  source.text("update-ref", "refs/heads/master", long);
  const id = await node.create();
  assert.equal((await node.stage(id, source.pack("master"), long)).kind, "staged");
  const answer = await node.json("POST", nodePaths.commits(id), { oids: [long, first] });
  assert.equal(answer.status, 200, JSON.stringify(answer.body).slice(0, 500));
  const commits = answer.body["commits"] as { oid: string; subject: string }[];
  assert.deepEqual(
    commits.map(({ oid, subject }) => [oid, subject.length]),
    [
      [long, 500],
      [first, 1],
    ],
  );
  assert.match(commits[0]?.subject ?? "", /^word word .*\.\.$/);
});

test("no such replica, and what is no object id", async () => {
  assert.equal((await node.json("POST", nodePaths.commits(uuid()), { oids: ["1".repeat(40)] })).status, 404);
  const id = await node.create();
  assert.equal((await node.json("POST", nodePaths.commits(id), { oids: ["--all"] })).status, 400);
});
