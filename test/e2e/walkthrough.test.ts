/** The README's walk-through, as a newcomer types it. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, test } from "node:test";
import { startCluster } from "../support/cluster.ts";
import { refsOnDisk } from "../support/git.ts";
import { assertReplicas } from "../support/replicas.ts";

const cluster = await startCluster();
after(() => cluster.stop());

test("create, push, clone back, and look at the replicas with plain git", async () => {
  const terminal = cluster.terminal();
  const created: unknown = JSON.parse(await terminal.ok("curl -sS -XPOST $URL/api/repos/test"));
  assert.equal((created as { name: string }).name, "test");

  await terminal.ok(`
    git init -q hello && cd hello
    echo Hello > README.md
    git add README.md
    git commit -q -m 'First commit'
    git remote add origin $GIT/test.git
    git push origin master
  `);
  await terminal.ok("git clone -q $GIT/test.git again");
  assert.equal(await terminal.ok("cat again/README.md"), "Hello");
  assert.equal(await terminal.ok("git -C again rev-parse HEAD"), await terminal.ok("git -C hello rev-parse HEAD"));
  assert.equal(await terminal.ok("git -C again symbolic-ref HEAD"), "refs/heads/master");

  const view = await cluster.waitReady("test");
  assert.equal(view.generation, 1);
  assert.ok(view.timestamp > 0);
  const refs = await assertReplicas(cluster, "test");
  assert.equal(refs, `${await terminal.ok("git -C hello rev-parse HEAD")} refs/heads/master`);
  const directories = await cluster.replicaDirectories("test");
  assert.deepEqual([...directories.keys()], ["node-1", "node-2", "node-3"]);
  for (const directory of directories.values()) {
    assert.equal(await refsOnDisk(terminal, directory), refs);
    assert.equal(await terminal.ok(`git -C '${directory}' show master:README.md`), "Hello");
    await terminal.ok(`rm -rf straight && git clone -q '${directory}' straight && cat straight/README.md`);
  }
});

test("an acknowledged push is on every replica when git says ok", async () => {
  const terminal = cluster.terminal();
  const url = await cluster.create("at-once");
  await terminal.ok("git init -q work && git -C work commit -q --allow-empty -m start");
  const { id } = await cluster.show("at-once");
  for (let push = 1; push <= 5; push += 1) {
    await terminal.ok(`cd work && git commit -q --allow-empty -m 'push ${push}' && git push -q ${url} master`);
    const head = await terminal.ok("git -C work rev-parse HEAD");
    for (const node of cluster.nodeNames()) {
      const directory = cluster.replicaDirectory(node, { id });
      assert.equal(await terminal.ok(`git -C '${directory}' rev-parse master`), head, `${node} after push ${push}`);
    }
  }
});

test("names of several parts, with and without .git in the URL", async () => {
  const terminal = cluster.terminal();
  for (const name of ["owner/repo", "group/sub-group/re.po_1", "UPPER", "upper"]) {
    await cluster.create(name);
    await terminal.ok(`
      rm -rf work && git init -q work && cd work
      git commit -q --allow-empty -m 'in ${name}'
      git push -q $GIT/${name} master
      git push -q $GIT/${name}.git master:other
      git clone -q $GIT/${name} ../clone && rm -rf ../clone
      git clone -q $GIT/${name}.git ../clone
    `);
    assert.equal(await terminal.ok("git -C clone log -1 --format=%s"), `in ${name}`);
    assert.equal(await terminal.ok("basename $(git -C clone remote get-url origin)"), `${name.split("/").at(-1)}.git`);
    await terminal.ok("rm -rf clone");
    assert.equal((await cluster.show(name)).generation, 2);
  }
});

test("the clone URL of the API is one that git takes", async () => {
  const terminal = cluster.terminal();
  await cluster.create("by-url");
  const { cloneUrl } = await cluster.show("by-url");
  await terminal.ok(`git clone -q ${cloneUrl} work && cd work && git commit -q --allow-empty -m one && git push -q`);
});

test("the directory names of replicas do not depend on the repository's name", async () => {
  await cluster.create("renamed/before");
  const { id } = await cluster.show("renamed/before");
  for (const node of cluster.nodeNames()) assert.ok(existsSync(cluster.replicaDirectory(node, { id })), node);
});
