/**
 * Power loss: a cluster's life is recorded, and then the disks are made as they would be had the power failed at some
 * moment of it, with no more than was fsynced, or with some of the rest. Whatever was promised until then must hold.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startCluster, type Cluster } from "../support/cluster.ts";
import { refsOfRemote } from "../support/git.ts";
import { assertReplicas } from "../support/replicas.ts";
import { needs } from "../support/requirement.ts";
import { temporaryDirectory } from "../support/temp.ts";
import { waitFor } from "../support/wait.ts";
import { Disk } from "./disk.ts";
import type { Operation } from "./file-operations.ts";
import { Inspector } from "./inspector.ts";
import { canRecord, record, type Promised, type Recording } from "./recording.ts";
import { clusterLife } from "./cluster-life.ts";
import { anySubset, namesInOrder, randomOf, rules, type Rule } from "./survival.ts";

const seed = Number(process.env["GITMESH_TEST_SEED"] ?? 1);
const randomCuts = Number(process.env["GITMESH_TEST_CUTS"] ?? 25);
const strace = needs("strace, allowed to trace,", canRecord());
const temporary = temporaryDirectory();
const inspector = new Inspector(temporary.path);
let recording: Recording;

before(async () => {
  if (strace.skip === undefined) recording = await record(clusterLife.options, clusterLife.script);
});
after(() => temporary.remove());

interface Cut {
  /** Operations that were done. */
  readonly index: number;
  readonly rules: readonly Rule[];
}

/** Those made in the first `index` operations, and the one being worked on. */
function promisesAt(index: number): { made: Promised[]; next: Promised | undefined } {
  const made = recording.promises.filter((promised) => promised.index < index);
  return { made, next: recording.promises[made.length] };
}

/** All that is broken at the first cut that breaks something, with its place. */
async function check(cuts: readonly Cut[], operations = recording.operations): Promise<string[]> {
  const disk = new Disk();
  const broken: string[] = [];
  let done = 0;
  for (const cut of cuts.toSorted((one, other) => one.index - other.index)) {
    for (const operation of operations.slice(done, cut.index)) disk.do(operation);
    done = Math.max(done, cut.index);
    const { made, next } = promisesAt(cut.index);
    for (const rule of cut.rules) {
      const found = await inspector.broken(disk.image(rule.survival()), made, next);
      broken.push(
        ...found.map((text) => `after ${cut.index} operations (${made.at(-1)?.what}), ${rule.name}: ${text}`),
      );
    }
    if (broken.length > 0) break;
  }
  return broken;
}

/** The operations that sent an answer in which the pattern is found. */
function answers(pattern: RegExp): number[] {
  return recording.operations.flatMap((operation, index) =>
    operation.kind === "sent" && pattern.test(operation.data.toString("latin1")) ? [index] : [],
  );
}

test("whatever a client was told holds when the power fails as it is told", strace, async () => {
  const cuts = recording.promises.map(({ index }) => ({ index: index + 1, rules: Object.values(rules) }));
  assert.ok(cuts.length > 10);
  assert.deepEqual((await check(cuts)).slice(0, 10), []);
});

test("whatever a node has answered holds: staged, applied, caught up", strace, async () => {
  for (const pattern of [/"kind":"staged"/, /\r\n\r\n\{"generation":\d+\}$/, /"kind":"caught-up"/]) {
    const found = answers(pattern);
    assert.ok(found.length >= 2, `${pattern} was answered ${found.length} times`);
    const cuts = found.map((index) => ({ index: index + 1, rules: [rules.store] }));
    assert.deepEqual((await check(cuts)).slice(0, 10), [], String(pattern));
  }
});

test(`nothing is broken at any moment (seed ${seed}, ${randomCuts} moments)`, strace, async () => {
  const random = randomOf(seed);
  const cuts = Array.from({ length: randomCuts }, (_value, round) => {
    const index = 1 + Math.floor(random() * recording.operations.length);
    const ended = recording.operations[index - 1]?.ended ?? 0;
    const drawn = [anySubset(seed * 1000 + round), namesInOrder(seed * 1000 + round, ended)];
    return { index, rules: [rules.store, rules.nodes, ...drawn] };
  });
  assert.deepEqual((await check(cuts)).slice(0, 10), []);
});

/** Kinds of fsync, by what is synced: each must be there. */
const needed: Readonly<Record<string, RegExp>> = {
  "the name of the data directory": /^\.$/,
  "the names of the nodes' directories": /^data$/,
  "what is in a node's directory": /^data\/node-\d+$/,
  "the names of replicas": /\/replicas\/[0-9a-f]{2}$/,
  "what is in a replica": /\.git$|\/building\/[^/]+$/,
  "the names of packs": /\/objects\/pack$/,
  packs: /\/tmp_pack_\w+$/,
  "the indexes of packs": /\/tmp_idx_\w+$/,
  "what loose refs say": /\/refs\/.*\.lock$/,
  "the names of loose refs": /\.git\/refs(?:\/|$)(?!.*\.lock$)/,
  "the packed refs": /\/packed-refs(?:\.new|\.lock)$/,
  "the record of the generation": /\/gitmesh\.json\.new$/,
  "the metadata store": /^data\/gitmesh\.sqlite-wal$/,
};

for (const [what, path] of Object.entries(needed)) {
  test(`it is noticed when one fsync is left out: ${what}`, strace, async () => {
    let left = 0;
    const operations = recording.operations.map((operation): Operation => {
      if (operation.kind !== "sync" || !path.test(operation.path)) return operation;
      left += 1;
      // In its place, so that every other operation keeps its own.
      return { ...operation, kind: "sent", data: Buffer.alloc(0) };
    });
    assert.ok(left > 0, "nothing of the kind was synced");
    const cuts = recording.promises.map(({ index }) => ({ index: index + 1, rules: [rules.synced, rules.store] }));
    assert.notDeepEqual(await check(cuts, operations), []);
  });
}

/** Also surplus copies have been moved aside. */
async function waitSettled(cluster: Cluster, name: string): Promise<void> {
  await waitFor(
    async () => {
      const { nodes } = await cluster.show(name);
      return nodes.length === 3 && nodes.every(({ status }) => status === "READY");
    },
    { what: `three replicas of ${name} and no more`, limitMs: 120_000 },
  );
}

test("a cluster starts again on what is left, heals by itself and takes pushes", strace, async () => {
  const caughtUp = answers(/"kind":"caught-up"/).at(-1) ?? 0;
  const last = recording.promises.findLast(({ exists }) => exists)?.index ?? 0;
  const random = randomOf(seed + 1);
  const middle = Math.floor(random() * last);
  for (const [index, rule] of [
    [last + 1, rules.synced],
    [caughtUp + 1, rules.synced],
    [middle, anySubset(seed)],
  ] as const) {
    const disk = new Disk();
    for (const operation of recording.operations.slice(0, index)) disk.do(operation);
    const cluster = await startCluster({
      ...clusterLife.options,
      replicas: 3,
      fill: (directory) => disk.image(rule.survival()).write("data", directory),
    });
    try {
      const { made } = promisesAt(index);
      const deleted = new Set(made.filter(({ exists }) => !exists).map(({ repository }) => repository));
      const names = new Set(made.map(({ repository }) => repository).filter((name) => !deleted.has(name)));
      const where = `after ${index} operations (${made.at(-1)?.what}), ${rule.name}`;
      for (const name of names) {
        await waitSettled(cluster, name);
        await assertReplicas(cluster, name, { limitMs: 60_000 });
        const terminal = cluster.terminal();
        await terminal.ok(
          `git init -q . && git commit -q --allow-empty -m after && git push -q $GIT/${name}.git HEAD:refs/heads/after`,
        );
        assert.match(await refsOfRemote(terminal, cluster.repo(name)), /refs\/heads\/after$/m, where);
        await assertReplicas(cluster, name);
      }
    } finally {
      await cluster.stop();
    }
  }
});
