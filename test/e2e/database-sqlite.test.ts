/** The SQLite store: locked by another program, on a full disk, on a disk that is read-only when the controller starts. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, renameSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, before, test } from "node:test";
import { callApi, type Problem } from "../support/api.ts";
import { startServers, type Cluster } from "../support/cluster.ts";
import { assertReplicas } from "../support/replicas.ts";
import { needs } from "../support/requirement.ts";
import type { Separate } from "../support/servers.ts";
import { temporaryDirectory } from "../support/temp.ts";
import type { Terminal } from "../support/terminal.ts";
import { waitFor, within } from "../support/wait.ts";

/** A small file system of its own: mounting needs to be root in a namespace that allows it. */
const disk = temporaryDirectory();
const mounted = mount("tmpfs", ["-o", "size=24m"]);
const { skip } = needs("mount", mounted);
const answerLimitMs = 60_000;

function mount(type: string, options: readonly string[]): boolean {
  return spawnSync("mount", ["-t", type, ...options, "none", disk.path], { stdio: "ignore" }).status === 0;
}

function remount(mode: "ro" | "rw"): void {
  const { status, stderr } = spawnSync("mount", ["-o", `remount,${mode}`, disk.path], { encoding: "utf8" });
  assert.equal(status, 0, stderr);
}

let cluster: Cluster<Separate>;
let work: Terminal;
const file = join(disk.path, "store", "gitmesh.sqlite");
before(async () => {
  mkdirSync(join(disk.path, "store"));
  cluster = await startServers({ database: `sqlite:${file}`, env: { GITMESH_HEARTBEAT_INTERVAL_MS: "500" } });
  await cluster.create("test");
  const terminal = cluster.terminal();
  await terminal.ok(
    "git init -q work && cd work && git commit -q --allow-empty -m first && git push -q $GIT/test.git master",
  );
  work = terminal.in("work");
});
after(async () => {
  try {
    await cluster.stop();
  } finally {
    if (mounted) spawnSync("umount", [disk.path]);
    disk.remove();
  }
});

async function assertWritesRefused(): Promise<void> {
  await work.ok("git commit -q --allow-empty -m refused");
  const pushed = await work.fails("git push $GIT/test.git HEAD", { limitMs: answerLimitMs });
  assert.match(pushed, /nothing has changed: the metadata store (?:does not answer|takes no changes now)/);
  const created = await within(answerLimitMs, "a creation", callApi(`${cluster.url}/api/repos/no`, "POST"));
  assert.equal(created.status, 503);
  assert.equal((created.body as Problem).code, "store-unavailable");
  assert.ok(Number(created.headers.get("retry-after")) > 0);
  assert.deepEqual(cluster.servers.ended(), []);
}

async function assertAllWell(): Promise<void> {
  await waitFor(async () => (await work.run("git push -q $GIT/test.git HEAD")).code === 0, {
    what: "pushes to go on",
    limitMs: answerLimitMs,
  });
  await cluster.waitServing();
  await assertReplicas(cluster, "test", { commits: [await work.ok("git rev-parse HEAD")] });
  assert.equal((await callApi(`${cluster.url}/api/repos/no`, "GET")).status, 404);
}

test("SQLite locked by another program: writes are refused in time, reads go on", async () => {
  const other = new DatabaseSync(file, { timeout: 20_000 });
  other.exec("begin immediate");
  try {
    await assertWritesRefused();
    await work.ok("git clone -q $GIT/test.git ../locked");
  } finally {
    other.exec("rollback");
    other.close();
  }
  await assertAllWell();
});

test("SQLite on a full disk: writes are refused, reads go on, room makes all well", { skip }, async () => {
  const filler = join(disk.path, "filler");
  assert.throws(() => writeFileSync(filler, Buffer.alloc(64 * 1024 * 1024)), /ENOSPC/);
  await waitFor(async () => (await callApi(`${cluster.url}/api/repos/no`, "POST")).status === 503, {
    what: "the disk to be too full for the store",
    limitMs: answerLimitMs,
  });
  await assertWritesRefused();
  await work.ok("git clone -q $GIT/test.git ../full");
  rmSync(filler);
  await assertAllWell();
});

test("SQLite's files are moved away while they are used: nothing is acknowledged that would be lost with them", async () => {
  const store = join(disk.path, "store");
  renameSync(store, `${store}-away`);
  mkdirSync(store);
  await work.ok("git commit -q --allow-empty -m refused");
  const pushed = await work.fails("git push $GIT/test.git HEAD", { limitMs: answerLimitMs });
  assert.match(pushed, /the metadata store does not answer; try again shortly/);
  assert.equal((await callApi(`${cluster.url}/api/repos/no`, "POST")).status, 503);
  assert.equal((await callApi(`${cluster.url}/api/repos/test`, "GET")).status, 503);
  assert.deepEqual(readdirSync(store), [], "no other database is begun");
  rmdirSync(store);
  renameSync(`${store}-away`, store);
  await assertAllWell();
});

test(
  "SQLite on a read-only disk at the start: one sentence, and all well once it can be written",
  { skip },
  async () => {
    await cluster.kill("controller-1");
    remount("ro");
    cluster.servers.start("controller-1");
    await waitFor(() => cluster.servers.ended().includes("controller-1"), { what: "the controller to give up" });
    // The sentence, and what to do about it.
    const said = cluster.log("controller-1").trim().split("\n").slice(-2).join("\n");
    assert.match(said, /^cannot open the SQLite database .*gitmesh\.sqlite: attempt to write a readonly database\n/);
    remount("rw");
    await cluster.kill("controller-1");
    await cluster.start("controller-1");
    await assertAllWell();
  },
);
