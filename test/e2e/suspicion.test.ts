/**
 * Nothing is destroyed by suspicion: disks that are swapped, copied, emptied, set back or full of the wrong things, and a
 * metadata store that knows nothing. All that was on the disks is still there, in place or aside, and the cluster heals
 * by itself. (The repository servers of a restored store: database-restore-*.test.ts; clocks: src/controller/scrub.test.ts.)
 */
import assert from "node:assert/strict";
import { cp, mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { startServers, type Cluster } from "../support/cluster.ts";
import { makeHistory } from "../support/git.ts";
import { assertReplicas } from "../support/replicas.ts";
import type { Separate } from "../support/servers.ts";
import type { Terminal } from "../support/terminal.ts";
import { waitFor } from "../support/wait.ts";

const env = {
  GITMESH_NODE_TIMEOUT_MS: "1500",
  GITMESH_REPAIR_GRACE_MS: "4000",
  GITMESH_REPAIR_INTERVAL_MS: "200",
  // The inventory and the copies are looked at every few seconds.
  GITMESH_HEARTBEAT_INTERVAL_MS: "300",
};
const names = ["one", "two"];

let cluster: Cluster<Separate>;
let terminal: Terminal;
let commits: string[];

before(async () => {
  cluster = await startServers({ env });
  terminal = cluster.terminal();
  await makeHistory(terminal, "source.git", { commits: 40, branches: 4, tags: 2 });
  for (const name of names) {
    await cluster.create(name);
    await terminal.ok(`git -C source.git push -q --mirror $GIT/${name}.git`);
    await terminal.ok(`git clone -q $GIT/${name}.git ${name}`);
  }
  commits = (await terminal.ok("git -C source.git rev-list master")).split("\n");
});
after(() => cluster.stop());
afterEach(() => cluster.heal());

/** How many copies of each repository lie on each node's disk, in place and aside: "node-1 ID" to the number. */
async function copiesOnDisks(): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  const ids = await Promise.all(names.map(async (name) => (await cluster.show(name)).id));
  for (const node of (await readdir(cluster.dataDirectory)).filter((entry) => /^node-\d+$/.test(entry))) {
    const files = await readdir(join(cluster.dataDirectory, node), { recursive: true });
    for (const id of ids) {
      const copies = files.filter((file) => new RegExp(`^(?:replicas/../${id}|aside/${id}[^/]*)\\.git$`).test(file));
      found.set(`${node} ${id}`, copies.length);
    }
  }
  return found;
}

async function assertNoCopyLess(before: ReadonlyMap<string, number>): Promise<void> {
  const now = await copiesOnDisks();
  for (const [where, count] of before) assert.ok((now.get(where) ?? 0) >= count, `a copy is gone: ${where}`);
}

/** All is READY with every commit, also after one more push. */
async function assertWhole(): Promise<void> {
  for (const name of names) {
    await cluster.waitReady(name, 3, 60_000);
    await terminal.ok(`cd ${name} && git commit -q --allow-empty -m more && git push -q origin master`);
    const pushed = await terminal.ok(`git -C ${name} rev-parse HEAD`);
    await assertReplicas(cluster, name, { commits: [...commits, pushed], limitMs: 60_000 });
  }
}

const disk = (node: string): string => join(cluster.dataDirectory, node);

test("the disks of two nodes are swapped", async () => {
  const had = await copiesOnDisks();
  await cluster.kill("node-1");
  await cluster.kill("node-2");
  await rename(disk("node-1"), disk("swap"));
  await rename(disk("node-2"), disk("node-1"));
  await rename(disk("swap"), disk("node-2"));
  await cluster.heal();
  await assertWhole();
  await assertNoCopyLess(had);
});

test("a node's directory is copied to another: the double is refused while the first one lives", async () => {
  const had = await copiesOnDisks();
  await cp(disk("node-3"), disk("node-4"), { recursive: true, filter: (path) => !/lock[^/]*$/.test(path) });
  cluster.servers.start("node-4");
  try {
    await waitFor(() => /alive at another URL/.test(cluster.log("node-4")), { what: "the double to be refused" });
    const urls = (await cluster.nodes()).map(({ url }) => url);
    assert.ok(!urls.includes(cluster.nodeUrl("node-4")), urls.join(" "));
    await assertWhole();
    await assertNoCopyLess(had);
  } finally {
    await cluster.kill("node-4");
  }
  await rm(disk("node-4"), { recursive: true });
});

test("an older copy of a node's disk is put back", async () => {
  await cluster.kill("node-2");
  await cp(disk("node-2"), disk("older"), { recursive: true });
  await cluster.start("node-2");
  await assertWhole();
  const had = await copiesOnDisks();
  await cluster.kill("node-2");
  await rm(disk("node-2"), { recursive: true });
  await rename(disk("older"), disk("node-2"));
  await cluster.start("node-2");
  await assertWhole();
  await assertNoCopyLess(had);
});

test("a node comes without its replicas, its identity kept: a mount that is missing", async () => {
  const had = await copiesOnDisks();
  await cluster.kill("node-3");
  await rename(join(disk("node-3"), "replicas"), join(disk("node-3"), "not-mounted"));
  await cluster.start("node-3");
  await assertWhole();
  await assertNoCopyLess(had);
  await rm(join(disk("node-3"), "not-mounted"), { recursive: true });
});

test("a node's directories are each other's: two repositories swapped on its disk", async () => {
  const had = await copiesOnDisks();
  const [one = "", two = ""] = await Promise.all(
    names.map(async (name) => cluster.replicaDirectory("node-1", await cluster.show(name))),
  );
  await cluster.kill("node-1");
  await rename(one, `${one}.swap`);
  await rename(two, one);
  await rename(`${one}.swap`, two);
  await cluster.start("node-1");
  await assertWhole();
  await assertNoCopyLess(had);
});

test("the controller starts with an empty metadata store: what the nodes have is unknown to it, and stays", async () => {
  const had = await copiesOnDisks();
  const saved = join(cluster.dataDirectory, "saved");
  await mkdir(saved);
  await cluster.kill("controller-1");
  for (const file of (await readdir(cluster.dataDirectory)).filter((entry) => entry.startsWith("gitmesh.sqlite")))
    await rename(join(cluster.dataDirectory, file), join(saved, file));
  await cluster.heal();
  assert.deepEqual((await cluster.api("GET", "/api/repos/one")).status, 404);
  // All of them are listed as orphans: looked at, and left.
  const orphansOf = async (): Promise<number> =>
    (await cluster.cli("repair", "status")).stdout.split("\n").filter((line) => line.includes("does not place it"))
      .length;
  await waitFor(async () => (await orphansOf()) >= 3 * names.length, { what: "the orphans to be listed" });
  // A name that is taken anew is another repository.
  await cluster.create("one");
  await cluster.waitReady("one");
  assert.equal((await cluster.api("DELETE", "/api/repos/one")).status, 204);
  assert.ok((await orphansOf()) >= 3 * names.length);
  await cluster.kill("controller-1");
  for (const file of (await readdir(cluster.dataDirectory)).filter((entry) => entry.startsWith("gitmesh.sqlite")))
    await rm(join(cluster.dataDirectory, file));
  for (const file of await readdir(saved)) await rename(join(saved, file), join(cluster.dataDirectory, file));
  await cluster.heal();
  await assertWhole();
  await assertNoCopyLess(had);
});
