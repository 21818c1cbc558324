/**
 * Ten times more pushes and clones at once than a cluster with small limits may take: each ends with success or is told
 * that the cluster is busy, nothing is half-done, and afterwards all is as before.
 */
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { startCluster, type Cluster, type ClusterOptions } from "../support/cluster.ts";
import { refsOfRemote } from "../support/git.ts";
import { residentBytes } from "../support/processes.ts";
import { assertReplicas } from "../support/replicas.ts";
import type { Outcome, Terminal } from "../support/terminal.ts";
import { assertNothingRuns } from "../support/unharmed.ts";
import { waitFor } from "../support/wait.ts";

const repositories = ["one", "two", "three"];
/** Of pushes, and of clones: those that may run, and one that may wait. */
const capacity = 3;
const times = 10;
const growthBytesMax = 250 * 1024 * 1024;
/** What an overloaded cluster says, in git's own output. */
const busyWords = /try again shortly|as much work as it may take|error: 503/;

let cluster: Cluster | undefined;
afterEach(async () => {
  await cluster?.stop();
  cluster = undefined;
});

/** A cluster with some repositories, and a clone of each in the terminal. */
async function begin(options: ClusterOptions): Promise<{ cluster: Cluster; terminal: Terminal }> {
  cluster = await startCluster(options);
  const terminal = cluster.terminal();
  for (const name of repositories) {
    await cluster.create(name);
    await terminal.ok(`git init -q ${name} && cd ${name} && seq 1 20000 > f && git add f && git commit -q -m first`);
    await terminal.ok(`cd ${name} && git remote add origin $GIT/${name}.git && git push -q origin master`);
  }
  return { cluster, terminal };
}

interface Push {
  readonly repository: string;
  readonly branch: string;
  readonly commit: string;
}

/** A commit of its own for every push, made before, so that they can come at once. */
async function preparePushes(terminal: Terminal, count: number): Promise<Push[]> {
  const pushes: Push[] = [];
  for (let index = 0; index < count; index += 1) {
    const repository = repositories[index % repositories.length] ?? "";
    const branch = `b${index}`;
    const commit = await terminal.ok(
      `cd ${repository} && git checkout -q -b ${branch} master && head -c 100000 /dev/urandom > r && git add r && git commit -q -m ${branch} && git rev-parse HEAD`,
    );
    pushes.push({ repository, branch, commit });
  }
  return pushes;
}

function assertToldBusy({ stdout, stderr }: Outcome): void {
  assert.match(stdout + stderr, busyWords);
}

/** The most git processes of the nodes, and the memory of the servers, looked at until `done`. */
async function watch(watched: Cluster, done: Promise<unknown>): Promise<{ gits: number; grownBytes: number }> {
  const servers = ["controller-1", ...watched.nodeNames()];
  const before = servers.map((server) => residentBytes(watched.pid(server)));
  const most = { gits: 0, grownBytes: 0 };
  let over = false;
  void done.finally(() => (over = true));
  await waitFor(
    () => {
      most.gits = Math.max(most.gits, watched.gitProcesses().length);
      for (const [index, server] of servers.entries()) {
        most.grownBytes = Math.max(most.grownBytes, residentBytes(watched.pid(server)) - (before[index] ?? 0));
      }
      return over;
    },
    { what: "every push and clone to end", limitMs: 300_000 },
  );
  return most;
}

test("ten times the capacity of pushes and clones at once", { timeout: 600_000 }, async () => {
  const gitProcessesMax = 2;
  const overloaded = await begin({
    env: {
      GITMESH_PUSHES_MAX: String(capacity - 1),
      GITMESH_PUSH_QUEUE_MAX: "1",
      GITMESH_FETCHES_MAX: String(capacity - 1),
      GITMESH_FETCH_QUEUE_MAX: "1",
      // Each clone is as much work as the first.
      GITMESH_FETCH_CACHE_BYTES: "0",
      GITMESH_GIT_PROCESSES_MAX: String(gitProcessesMax),
    },
  });
  const { terminal } = overloaded;
  const pushes = await preparePushes(terminal, times * capacity);
  const ends = Promise.all([
    ...pushes.map(({ repository, branch }) => terminal.run(`git -C ${repository} push -q origin ${branch}`)),
    ...pushes.map(({ repository, branch }) => terminal.run(`git clone -q $GIT/${repository}.git clone-${branch}`)),
  ]);
  const most = await watch(overloaded.cluster, ends);
  const outcomes = await ends;
  const [ofPushes, ofClones] = [outcomes.slice(0, pushes.length), outcomes.slice(pushes.length)];

  for (const outcome of outcomes) if (outcome.code !== 0) assertToldBusy(outcome);
  for (const [what, part] of [["pushes", ofPushes] as const, ["clones", ofClones] as const]) {
    const taken = part.filter(({ code }) => code === 0).length;
    assert.ok(taken >= capacity, `only ${taken} ${what} were taken`);
    assert.ok(taken < part.length, `no ${what} were refused`);
  }
  // upload-pack and pack-objects, or index-pack and rev-list; besides these, refs are applied.
  const gitsMax = overloaded.cluster.nodeNames().length * (2 * gitProcessesMax + 2 * capacity);
  assert.ok(most.gits <= gitsMax, `${most.gits} git processes`);
  assert.ok(most.grownBytes < growthBytesMax, `a server grew by ${Math.round(most.grownBytes / 1e6)} MB`);

  await assertWhole(overloaded.cluster, terminal, pushes, ofPushes);
  for (const [index, { code }] of ofClones.entries()) {
    if (code === 0) await terminal.ok(`git -C clone-${pushes[index]?.branch} fsck --connectivity-only`);
  }
});

test("nodes that have too much to do refuse pushes, and no replica misses one", { timeout: 600_000 }, async () => {
  const overloaded = await begin({ env: { GITMESH_GIT_PROCESSES_MAX: "1", GITMESH_GIT_QUEUE_MAX: "1" } });
  const { terminal } = overloaded;
  const pushes = await preparePushes(terminal, 20);
  const outcomes = await Promise.all(
    pushes.map(({ repository, branch }) => terminal.run(`git -C ${repository} push -q origin ${branch}`)),
  );
  for (const outcome of outcomes) if (outcome.code !== 0) assertToldBusy(outcome);
  assert.ok(outcomes.some(({ code }) => code === 0));
  assert.ok(outcomes.some(({ code }) => code !== 0));
  assert.doesNotMatch(overloaded.cluster.log("controller-1"), /replicas missed a push/);
  await assertWhole(overloaded.cluster, terminal, pushes, outcomes);
});

/** What was taken is whole on every replica, of what was refused there is no trace, and all goes on as before. */
async function assertWhole(
  served: Cluster,
  terminal: Terminal,
  pushes: readonly Push[],
  outcomes: readonly Outcome[],
): Promise<void> {
  for (const repository of repositories) {
    const own = pushes.flatMap((push, index) =>
      push.repository === repository ? [{ ...push, taken: outcomes[index]?.code === 0 }] : [],
    );
    const taken = own.filter((push) => push.taken);
    const refs = await assertReplicas(served, repository, {
      commits: taken.map(({ commit }) => commit),
      limitMs: 60_000,
    });
    const wanted = taken.map(({ branch, commit }) => `${commit} refs/heads/${branch}`).toSorted();
    const found = refs.split("\n").filter((line) => !line.endsWith("refs/heads/master"));
    assert.deepEqual(found.toSorted(), wanted, repository);
  }
  await assertNothingRuns(served);
  for (const { state, url } of await served.nodes()) assert.equal(state, "ALIVE", url);
  for (const { repository, branch, commit } of pushes) {
    await terminal.ok(`git -C ${repository} push -q origin ${branch}`);
    assert.match(
      await refsOfRemote(terminal, served.repo(repository)),
      new RegExp(`^${commit} refs/heads/${branch}$`, "m"),
    );
  }
  for (const repository of repositories) await terminal.ok(`git clone -q $GIT/${repository}.git after-${repository}`);
}
