/** Disks that are lost: a returning node is refilled, a replica lost for good is rebuilt on another node. */
import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { after, afterEach, test } from "node:test";
import { startServers } from "../support/cluster.ts";
import { makeHistory } from "../support/git.ts";
import { assertReplicas } from "../support/replicas.ts";
import type { Terminal } from "../support/terminal.ts";
import { waitFor } from "../support/wait.ts";

const settings = {
  GITMESH_NODE_TIMEOUT_MS: "1500",
  GITMESH_REPAIR_GRACE_MS: "4000",
  GITMESH_REPAIR_INTERVAL_MS: "300",
  // Each read comes from a disk.
  GITMESH_FETCH_CACHE_BYTES: "0",
};
const cluster = await startServers({ env: settings });
after(() => cluster.stop());
afterEach(() => cluster.heal());

async function history(name: string): Promise<{ readonly terminal: Terminal; readonly commits: string[] }> {
  await cluster.create(name);
  const terminal = cluster.terminal();
  await makeHistory(terminal, "source.git", { commits: 80, branches: 6, tags: 4 });
  await terminal.ok(`git -C source.git push -q --mirror $GIT/${name}.git && git clone -q $GIT/${name}.git work`);
  return { terminal, commits: (await terminal.ok("git -C source.git rev-list master")).split("\n") };
}

test("an emptied disk is known by its missing identity: refilled, never believed", async () => {
  const { terminal, commits } = await history("emptied");
  await cluster.create("emptied-unborn");
  await cluster.kill("node-1");
  await cluster.emptyDisk("node-1");
  await cluster.start("node-1");
  await assertReplicas(cluster, "emptied", { commits });
  await cluster.waitReady("emptied-unborn");
  await terminal.ok("cd work && git commit -q --allow-empty -m after && git push -q origin master");
  await assertReplicas(cluster, "emptied", { commits });
  const urls = (await cluster.nodes()).map(({ url }) => url);
  assert.equal(new Set(urls).size, urls.length, `each URL once: ${urls.join(" ")}`);
});

test("an emptied disk while pushes go on", async () => {
  const { terminal, commits } = await history("emptied-busy");
  await cluster.kill("node-2");
  await cluster.emptyDisk("node-2");
  const pushes = terminal.ok(
    "cd work && for i in $(seq 1 20); do git commit -q --allow-empty -m $i; git push -q origin master; done",
  );
  await cluster.start("node-2");
  await pushes;
  commits.push(...(await terminal.ok("git -C work rev-list master")).split("\n"));
  await assertReplicas(cluster, "emptied-busy", { commits });
});

test("one replica's directory is gone: its node is not read for it, and gets it back", async () => {
  const { terminal, commits } = await history("directory-gone");
  const directory = (await cluster.replicaDirectories("directory-gone")).get("node-3");
  assert.ok(directory !== undefined);
  await cluster.kill("node-3");
  await rm(directory, { recursive: true });
  await cluster.start("node-3");
  await assertReplicas(cluster, "directory-gone", { commits });
  // And on a node that runs: found at the latest when it is used.
  await rm(directory, { recursive: true });
  await terminal.ok("for i in 1 2 3 4; do git clone -q $GIT/directory-gone.git again-$i; done");
  await terminal.ok("cd work && git commit -q --allow-empty -m after && git push -q origin master");
  await assertReplicas(cluster, "directory-gone", { commits });
});

test("a node that is lost for good: its replicas are rebuilt on a fourth one after the grace time", async () => {
  const { terminal, commits } = await history("lost");
  await cluster.kill("node-3");
  await cluster.start("node-4");
  await waitFor(async () => (await cluster.statusOn("node-4", "lost")) === "READY", {
    what: "the replica on node-4",
    limitMs: 60_000,
  });
  await assertReplicas(cluster, "lost", { ready: 3, commits });
  await terminal.ok(
    "cd work && git commit -q --allow-empty -m after && git push -q origin master && git clone -q $GIT/lost.git ../again",
  );
  // The dead one can be forgotten.
  await cluster.waitNodeState("node-3", "DEAD");
  const dead = (await cluster.nodes()).find(({ url }) => url === cluster.nodeUrl("node-3"));
  await waitFor(async () => (await cluster.api("DELETE", `/api/nodes/${dead?.id ?? ""}`)).status === 204, {
    what: "the dead node to be removed",
    limitMs: 60_000,
  });
  assert.equal((await cluster.nodes()).length, 3);
  // When it returns all the same, what it has is not deleted, and not served as READY without a check.
  await cluster.start("node-3");
  await assertReplicas(cluster, "lost", { ready: 3, commits });
});

test("a repository that was deleted while a node was down is gone there too, but kept aside", async () => {
  const { terminal } = await history("deleted-meanwhile");
  const before = await cluster.replicaDirectories("deleted-meanwhile");
  const [node = "", directory = ""] = [...before][0] ?? [];
  await cluster.kill(node);
  assert.equal((await cluster.api("DELETE", "/api/repos/deleted-meanwhile")).status, 204);
  await cluster.start(node);
  await waitFor(
    async () => {
      await assert.rejects(terminal.ok(`test -d '${directory}'`));
      return true;
    },
    { what: "the directory to be moved aside" },
  );
  const kept = await terminal.ok(
    `find '${cluster.dataDirectory}/${node}' -type d -name '*.git' | grep -c '${directory.slice(-40, -4)}' || true`,
  );
  assert.notEqual(kept, "0", "deleted at once, not kept aside");
});
