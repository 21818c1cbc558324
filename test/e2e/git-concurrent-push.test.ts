/** Pushes that race: to different refs all succeed, to one ref exactly one wins and the others are told why. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { startCluster } from "../support/cluster.ts";
import { refsOfRemote } from "../support/git.ts";
import { assertReplicas } from "../support/replicas.ts";
import type { Outcome, Terminal } from "../support/terminal.ts";

const cluster = await startCluster();
after(() => cluster.stop());

/** Clones of a new repository, each with one commit of its own on top. */
async function clones(name: string, count: number): Promise<Terminal[]> {
  await cluster.create(name);
  const terminal = cluster.terminal();
  await terminal.ok(
    `git init -q first && cd first && git commit -q --allow-empty -m first && git push -q $GIT/${name}.git master`,
  );
  const made: Terminal[] = [];
  for (let index = 0; index < count; index += 1) {
    await terminal.ok(
      `git clone -q $GIT/${name}.git clone-${index} && cd clone-${index} && echo ${index} > own-${index} && git add . && git commit -q -m 'commit ${index}'`,
    );
    made.push(terminal.in(`clone-${index}`));
  }
  return made;
}

async function pushAll(terminals: readonly Terminal[], script: (index: number) => string): Promise<Outcome[]> {
  return await Promise.all(terminals.map((terminal, index) => terminal.run(script(index))));
}

function said(outcomes: readonly Outcome[]): string {
  return outcomes.map(({ code, stderr }) => `${code}: ${stderr}`).join("\n");
}

test("twelve pushes at once to different refs all succeed", async () => {
  const terminals = await clones("race/refs", 12);
  const outcomes = await pushAll(terminals, (index) => `git push -q origin HEAD:refs/heads/own-${index}`);
  assert.ok(
    outcomes.every(({ code }) => code === 0),
    said(outcomes),
  );
  const refs = await assertReplicas(cluster, "race/refs");
  for (const [index, terminal] of terminals.entries()) {
    assert.ok(refs.includes(`${await terminal.ok("git rev-parse HEAD")} refs/heads/own-${index}`), `own-${index}`);
  }
  assert.equal((await cluster.show("race/refs")).generation, 13);
});

test("eight pushes at once to one ref: one wins, seven are told", async () => {
  const terminals = await clones("race/one-ref", 8);
  for (let round = 1; round <= 3; round += 1) {
    // The same old value for all, so that the server decides and not git's own check before.
    const outcomes = await pushAll(terminals, () => `git push origin HEAD:refs/heads/round-${round}`);
    const winners = outcomes.filter(({ code }) => code === 0);
    assert.equal(winners.length, 1, said(outcomes));
    for (const { code, stderr } of outcomes) {
      if (code !== 0)
        assert.match(
          stderr,
          /rejected\].*\((?:fetch first|non-fast-forward|.*(?:already exists|cannot lock ref|but expected).*)\)/,
        );
    }
    const index = outcomes.findIndex(({ code }) => code === 0);
    const winner = await terminals[index]?.ok("git rev-parse HEAD");
    assert.match(await assertReplicas(cluster, "race/one-ref"), new RegExp(`${winner} refs/heads/round-${round}`));
  }
});

test("moving one ref from the same old value: one wins each round", async () => {
  const terminals = await clones("race/moves", 6);
  const outcomes = await pushAll(terminals, () => "git push origin master");
  assert.equal(outcomes.filter(({ code }) => code === 0).length, 1, said(outcomes));
  // The losers rebase and try again until all are in: nothing is lost.
  await Promise.all(
    terminals.map((terminal, index) =>
      terminal.ok(`
        for attempt in $(seq 1 30); do
          if git push -q origin master 2> ../push-${index}.txt; then exit 0; fi
          git pull -q --rebase origin master
        done
        cat ../push-${index}.txt >&2; exit 1
      `),
    ),
  );
  await assertReplicas(cluster, "race/moves");
  const log = await terminals[0]?.ok("git fetch -q && git log --format=%s origin/master");
  assert.deepEqual(log?.split("\n").toSorted(), [
    "commit 0",
    "commit 1",
    "commit 2",
    "commit 3",
    "commit 4",
    "commit 5",
    "first",
  ]);
});

test("a file and a directory of one name, pushed at once: one is refused with a reason", async () => {
  const terminals = await clones("race/conflict", 2);
  for (let round = 1; round <= 5; round += 1) {
    const outcomes = await pushAll(
      terminals,
      (index) => `git push origin HEAD:refs/heads/r${round}${index === 0 ? "" : "/below"}`,
    );
    assert.equal(outcomes.filter(({ code }) => code === 0).length, 1, said(outcomes));
    const loser = outcomes.find(({ code }) => code !== 0);
    assert.match(loser?.stderr ?? "", /remote rejected\].*\(.*(?:exists|lock|conflict).*\)/);
  }
  assert.equal((await assertReplicas(cluster, "race/conflict")).split("\n").length, 6);
});

test("clones while others push see a state that was committed", async () => {
  const [writer, ...readers] = await clones("race/readers", 4);
  let done = false;
  const writing = writer
    ?.ok("for i in $(seq 1 15); do git commit -q --allow-empty -m $i; git push -q origin master; done")
    .finally(() => {
      done = true;
    });
  await Promise.all(
    readers.map(async (reader, index) => {
      for (let round = 0; !done; round += 1) {
        await reader.ok(
          `git clone -q $GIT/race/readers.git ../read-${index}-${round} && git -C ../read-${index}-${round} fsck --no-progress --connectivity-only`,
        );
      }
    }),
  );
  await writing;
  const last = readers[0];
  assert.equal(
    await refsOfRemote(last ?? cluster.terminal(), cluster.repo("race/readers")),
    `${await writer?.ok("git rev-parse HEAD")} refs/heads/master`,
  );
});
