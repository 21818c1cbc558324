/** Nodes that die or hang: before, during and after pushes. Each server is a process of its own and stays dead. */
import assert from "node:assert/strict";
import { after, afterEach, test } from "node:test";
import { startServers } from "../support/cluster.ts";
import { writeRandomFile } from "../support/git.ts";
import { assertReplicas, readyNodes, waitForQuarantine } from "../support/replicas.ts";
import type { Terminal } from "../support/terminal.ts";
import { waitFor } from "../support/wait.ts";

const cluster = await startServers({
  env: { GITMESH_NODE_TIMEOUT_MS: "1500", GITMESH_NODE_IDLE_MS: "2500", GITMESH_APPLY_MS: "2500" },
});
after(() => cluster.stop());
afterEach(() => cluster.heal());

const nodes = cluster.nodeNames();
const largeBytes = 40_000_000;

/** A new repository and a working copy with one commit that is pushed. */
async function workingCopy(name: string): Promise<Terminal> {
  await cluster.create(name);
  const terminal = cluster.terminal();
  await terminal.ok(
    `git init -q work && cd work && git remote add origin $GIT/${name}.git && git commit -q --allow-empty -m first`,
  );
  await terminal.ok("cd work && git push -q -u origin master");
  await cluster.waitReady(name);
  return terminal.in("work");
}

/** Commits and pushes; the id of the commit, which was acknowledged. */
async function acknowledged(work: Terminal, message: string): Promise<string> {
  await work.ok(`git commit -q --allow-empty -m '${message}' && git push -q origin master`);
  return await work.ok("git rev-parse HEAD");
}

async function assertCloned(work: Terminal, commit: string): Promise<void> {
  await work.ok("rm -rf ../clone && git clone -q $(git remote get-url origin) ../clone");
  assert.equal(await work.ok("git -C ../clone rev-parse HEAD"), commit);
}

for (const node of nodes) {
  test(`kill -9 of ${node} before a push: the push is taken, the node returns with equal refs`, async () => {
    const name = `before/${node}`;
    const work = await workingCopy(name);
    await cluster.kill(node);
    const commits = [await acknowledged(work, "while it is dead")];
    await assertCloned(work, commits[0] ?? "");
    commits.push(await acknowledged(work, "and another"));
    assert.equal((await readyNodes(cluster, name)).includes(node), false, "a replica that missed a push is not READY");
    await assertReplicas(cluster, name, { ready: 2, commits });
    cluster.servers.start(node);
    await assertReplicas(cluster, name, { commits });
  });
}

for (const node of nodes) {
  test(`kill -9 of ${node} during a push: git says ok, nothing is lost`, async () => {
    const name = `during/${node}`;
    const work = await workingCopy(name);
    writeRandomFile(work, "large", largeBytes);
    await work.ok("git add . && git commit -q -m large");
    // Slowly, so that the node dies in the middle of the pack.
    const push = work.start("git -c pack.compression=0 push -q origin master", { limitMs: 60_000 });
    await waitForQuarantine(cluster, node);
    await cluster.kill(node);
    const { code, stderr } = await push.outcome;
    assert.equal(code, 0, stderr);
    const commits = [await work.ok("git rev-parse HEAD")];
    await assertCloned(work, commits[0] ?? "");
    await assertReplicas(cluster, name, { ready: 2, commits });
    cluster.servers.start(node);
    await assertReplicas(cluster, name, { commits });
    await waitFor(() => cluster.leftovers(node).length === 0, { what: `${node} to remove what the kill left` });
  });
}

for (const node of nodes) {
  test(`kill -9 of ${node} after a push: every other replica has it`, async () => {
    const name = `after/${node}`;
    const work = await workingCopy(name);
    const commits = [await acknowledged(work, "just before")];
    await cluster.kill(node);
    await assertCloned(work, commits[0] ?? "");
    await assertReplicas(cluster, name, { ready: 2, commits });
    cluster.servers.start(node);
    await assertReplicas(cluster, name, { commits });
  });
}

test("each replica alone serves every acknowledged commit", async () => {
  const work = await workingCopy("alone");
  const commits = [await acknowledged(work, "one"), await acknowledged(work, "two")];
  await assertReplicas(cluster, "alone", { commits });
  for (const node of nodes) {
    const others = nodes.filter((other) => other !== node);
    for (const other of others) await cluster.kill(other);
    await assertCloned(work, commits[1] ?? "");
    for (const other of others) await cluster.start(other);
  }
  await assertReplicas(cluster, "alone", { commits });
});

test("two nodes down: a push is refused before its upload with a clear sentence, reads go on", async () => {
  const work = await workingCopy("two-down");
  const commits = [await acknowledged(work, "in time")];
  await cluster.kill("node-1");
  await cluster.kill("node-3");
  await cluster.waitNodeState("node-1", "DEAD");
  await cluster.waitNodeState("node-3", "DEAD");
  await work.ok("git commit -q --allow-empty -m 'too early'");
  const refused = await work.run("GIT_TRACE_CURL=1 git push origin master");
  assert.notEqual(refused.code, 0);
  assert.match(refused.stderr, /1 of the 2|too few replicas/i);
  assert.ok(!refused.stderr.includes("POST /git/"), "it uploaded for nothing");
  await assertCloned(work, commits[0] ?? "");
  const creation = await cluster.api("POST", "/api/repos/too-few");
  assert.equal(creation.status, 503, JSON.stringify(creation.body));
  await cluster.start("node-1");
  await waitFor(async () => (await work.run("git push -q origin master")).code === 0, {
    what: "the push to be taken again",
  });
  commits.push(await work.ok("git rev-parse HEAD"));
  await assertReplicas(cluster, "two-down", { ready: 2, commits });
  cluster.servers.start("node-3");
  await assertReplicas(cluster, "two-down", { commits });
});

test("a node that hangs: pushes and clones end in bounded time, and it catches up", async () => {
  const work = await workingCopy("hangs");
  cluster.pause("node-2");
  const startMs = performance.now();
  const commits = [await acknowledged(work, "while it hangs")];
  await assertCloned(work, commits[0] ?? "");
  commits.push(await acknowledged(work, "and once more"));
  const tookMs = performance.now() - startMs;
  assert.ok(tookMs < 25_000, `two pushes and a clone took ${tookMs} ms`);
  await cluster.waitNodeState("node-2", "DEAD");
  cluster.resume("node-2");
  await assertReplicas(cluster, "hangs", { commits });
});

test("a node that hangs in the middle of an upload drops out of that push alone", async () => {
  const work = await workingCopy("hangs-in-upload");
  writeRandomFile(work, "large", largeBytes);
  await work.ok("git add . && git commit -q -m large");
  const push = work.start("git -c pack.compression=0 push -q origin master", { limitMs: 60_000 });
  await waitForQuarantine(cluster, "node-3");
  cluster.pause("node-3");
  const { code, stderr } = await push.outcome;
  assert.equal(code, 0, stderr);
  cluster.resume("node-3");
  await assertReplicas(cluster, "hangs-in-upload", { commits: [await work.ok("git rev-parse HEAD")] });
});

test("all nodes die and return: everything is there", async () => {
  const work = await workingCopy("all-die");
  const commits = [await acknowledged(work, "one"), await acknowledged(work, "two")];
  for (const node of nodes) await cluster.kill(node);
  const refused = await work.fails("git clone -q $(git remote get-url origin) ../no-clone");
  assert.match(refused, /503|replica/);
  for (const node of nodes) await cluster.start(node);
  await assertReplicas(cluster, "all-die", { commits });
  await assertCloned(work, commits[1] ?? "");
});
