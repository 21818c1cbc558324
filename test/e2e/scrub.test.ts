/** Damage on a disk under a running server: found by the scrub or by hand, and healed from the other replicas. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { after, test } from "node:test";
import { startServers } from "../support/cluster.ts";
import { makeHistory } from "../support/git.ts";
import { assertReplicas } from "../support/replicas.ts";
import type { RepositoryView } from "../support/api.ts";
import { waitFor } from "../support/wait.ts";

// Each read comes from a disk.
const cluster = await startServers({ env: { GITMESH_REPAIR_INTERVAL_MS: "200", GITMESH_FETCH_CACHE_BYTES: "0" } });
after(() => cluster.stop());

async function history(name: string, body?: Readonly<Record<string, unknown>>): Promise<string[]> {
  await cluster.create(name, body);
  const terminal = cluster.terminal();
  await makeHistory(terminal, `${name}.git`, { commits: 60, branches: 5, tags: 3 });
  await terminal.ok(`git -C ${name}.git push -q --mirror $GIT/${name}.git`);
  return (await terminal.ok(`git -C ${name}.git rev-list master`)).split("\n");
}

async function directoryOn(node: string, name: string): Promise<string> {
  const directory = (await cluster.replicaDirectories(name)).get(node);
  assert.ok(directory !== undefined);
  return directory;
}

function packOf(directory: string): string {
  const packs = join(directory, "objects", "pack");
  const pack = readdirSync(packs).find((file) => file.endsWith(".pack"));
  assert.ok(pack !== undefined, "no pack");
  return join(packs, pack);
}

/** One byte in the middle is another. */
function rot(file: string): void {
  const bytes = readFileSync(file);
  const middle = Math.floor(bytes.length / 2);
  bytes[middle] = (bytes[middle] ?? 0) ^ 0xff;
  rmSync(file);
  writeFileSync(file, bytes);
}

async function verify(name: string): Promise<{ readonly code: number | null; readonly stdout: string }> {
  return cluster.cli("repo", "verify", name, "--wait", "60");
}

const asideOf = async (name: string): Promise<readonly { readonly kind: string; readonly reason: string }[]> => {
  const { body } = await cluster.api("GET", "/api/repair/copies?fresh=true");
  const { copies } = body as { copies: { kind: string; name: string; reason: string }[] };
  return copies.filter((copy) => copy.name === name);
};

test("a sound repository is found sound", async () => {
  await history("sound");
  const { code, stdout } = await verify("sound");
  assert.equal(code, 0, stdout);
  assert.equal(stdout.match(/ sound /g)?.length, 3, stdout);
  for (const node of (await cluster.show("sound")).nodes as (RepositoryView["nodes"][number] & {
    verifiedAt: number;
  })[]) {
    assert.ok(Date.now() - node.verifiedAt < 60_000);
  }
});

test("a rotten object in a replica that missed pushes: it cannot catch up, and is filled anew", async () => {
  const commits = await history("rotten-stale");
  const pack = packOf(await directoryOn("node-2", "rotten-stale"));
  const terminal = cluster.terminal();
  const listed = await terminal.ok(
    `git verify-pack -v '${pack.replace(/pack$/, "idx")}' | grep '^${commits[5]} commit'`,
  );
  await cluster.kill("node-2");
  const bytes = readFileSync(pack);
  // Behind the header of the object, which git walks through when it tells another what it has.
  bytes.fill(0xff, Number(listed.split(/\s+/)[4]) + 8, Number(listed.split(/\s+/)[4]) + 16);
  rmSync(pack);
  writeFileSync(pack, bytes);
  await terminal.ok(
    "git clone -q $GIT/rotten-stale.git work && cd work && git commit -q --allow-empty -m more && git push -q origin HEAD",
  );
  commits.push(await terminal.ok("git -C work rev-parse HEAD"));
  cluster.servers.start("node-2");
  await assertReplicas(cluster, "rotten-stale", { commits, limitMs: 120_000 });
});

test("a rotten pack: the copy is moved aside and filled anew", async () => {
  const commits = await history("rotten");
  rot(packOf(await directoryOn("node-1", "rotten")));
  const { code, stdout } = await verify("rotten");
  assert.equal(code, 1, stdout);
  assert.match(stdout, /damaged: /);
  await assertReplicas(cluster, "rotten", { commits });
  const copies = await asideOf("rotten");
  assert.deepEqual(
    copies.map(({ kind, reason }) => [kind, reason]),
    [["aside", "damaged"]],
  );
  assert.match((await cluster.cli("repair", "status")).stdout, /aside .*rotten .*damaged/);
});

test("a pack that is gone: noticed when it is read, without being asked", async () => {
  const commits = await history("gone");
  const pack = packOf(await directoryOn("node-2", "gone"));
  await rm(pack);
  await rm(pack.replace(/pack$/, "idx"));
  const terminal = cluster.terminal();
  // Whichever replica serves, git is told or the next one is asked: until the one without the pack was.
  await waitFor(
    async () => {
      await terminal.run("rm -rf clone && git clone -q $GIT/gone.git clone");
      return (await asideOf("gone")).length > 0;
    },
    { what: "the damage to be noticed", limitMs: 60_000 },
  );
  await assertReplicas(cluster, "gone", { commits });
});

test("a loose ref that is removed, one that is changed, one that is added", async () => {
  const commits = await history("refs");
  const directory = await directoryOn("node-3", "refs");
  const terminal = cluster.terminal();
  await terminal.ok(`git --git-dir='${directory}' update-ref -d refs/heads/branch-1`);
  await terminal.ok(`git --git-dir='${directory}' update-ref refs/heads/master refs/heads/master~3`);
  await terminal.ok(`git --git-dir='${directory}' update-ref refs/heads/extra refs/heads/master`);
  const { stdout } = await verify("refs");
  assert.match(stdout, /its refs are not those of generation/);
  await assertReplicas(cluster, "refs", { commits });
  assert.deepEqual(await asideOf("refs"), []);
});

test("the only copy, whose refs were changed by hand: proved complete by its own node, and in service again", async () => {
  const commits = await history("only-refs", { replicas: 1 });
  const [view] = (await cluster.show("only-refs")).nodes;
  const node = cluster.nodeNames().find((one) => cluster.nodeUrl(one) === view?.url) ?? "";
  const directory = await directoryOn(node, "only-refs");
  await cluster.terminal().ok(`git --git-dir='${directory}' update-ref refs/heads/master refs/heads/master~3`);
  assert.match((await verify("only-refs")).stdout, /its refs are not those of generation/);
  await assertReplicas(cluster, "only-refs", { commits, ready: 1 });
  assert.deepEqual(await asideOf("only-refs"), []);
});

test("the only copy stays in service, said to be damaged, and listed as a risk", async () => {
  await history("only", { replicas: 1 });
  const [view] = (await cluster.show("only")).nodes;
  assert.ok(view !== undefined);
  const node = cluster.nodeNames().find((one) => cluster.nodeUrl(one) === view.url) ?? "";
  rot(packOf(await directoryOn(node, "only")));
  const { code, stdout } = await verify("only");
  assert.equal(code, 1, stdout);
  assert.match(stdout, /READY .*damaged: /);
  const risks = (await cluster.cli("cluster", "dataloss")).stdout;
  assert.match(risks, /only +1 +0\/1/);
  assert.deepEqual(await asideOf("only"), []);
  await cluster.cli("repo", "delete", "only", "--yes");
});

test("rebuild by hand: the copy goes aside, a new one is filled; not of the only complete copy", async () => {
  const commits = await history("rebuilt");
  const port = new URL(cluster.nodeUrl("node-1")).host;
  assert.equal((await cluster.cli("repo", "rebuild", "rebuilt", "--node", port)).code, 0);
  await waitFor(async () => (await asideOf("rebuilt")).length === 1, { what: "the copy to be aside" });
  await assertReplicas(cluster, "rebuilt", { commits });
  await cluster.create("lonely", { replicas: 1 });
  const url = (await cluster.show("lonely")).nodes[0]?.url ?? "";
  const refused = await cluster.cli("repo", "rebuild", "lonely", "--node", url);
  assert.notEqual(refused.code, 0);
  assert.match(refused.stderr, /no other replica is complete/);
});

test("nothing to repair is said so, and no repository is at risk", async () => {
  const { code, stdout } = await cluster.cli("repair", "status");
  assert.equal(code, 0, stdout);
  assert.match(stdout, /complete replicas/);
  assert.equal((await cluster.cli("cluster", "dataloss")).code, 0);
});

test("most replicas lost their packs: a push that is refused for it has them verified and filled anew", async () => {
  await history("most-lost");
  const terminal = cluster.terminal();
  await terminal.ok(
    `git clone -q $GIT/most-lost.git work && cd work && date > new && git add new && git commit -qm new`,
  );
  for (const directory of [await directoryOn("node-1", "most-lost"), await directoryOn("node-2", "most-lost")]) {
    const packs = join(directory, "objects", "pack");
    for (const file of readdirSync(packs)) rmSync(join(packs, file));
  }
  assert.match(await terminal.fails(`git -C work push $GIT/most-lost.git HEAD:refs/heads/new`), /rejected/);
  // What was verified a moment ago is not verified again at once.
  await waitFor(
    async () => (await terminal.run(`git -C work push $GIT/most-lost.git HEAD:refs/heads/new`)).code === 0,
    {
      what: "the push to be taken",
      limitMs: 90_000,
    },
  );
  await cluster.waitReady("most-lost", 3, 90_000);
  await assertReplicas(cluster, "most-lost", { commits: [await terminal.ok("git -C work rev-parse HEAD")] });
});

test("a replica that became a file is found and filled anew", async () => {
  await history("file");
  const directory = await directoryOn("node-2", "file");
  rmSync(directory, { recursive: true });
  writeFileSync(directory, "");
  assert.equal((await verify("file")).code, 1);
  await cluster.waitReady("file");
  await assertReplicas(cluster, "file", {});
});
