/** One writer, and nodes that are killed and started again in turn: no acknowledged commit is ever lost. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { startServers } from "../support/cluster.ts";
import { assertReplicas } from "../support/replicas.ts";
import { waitFor } from "../support/wait.ts";

const cluster = await startServers({ env: { GITMESH_NODE_TIMEOUT_MS: "1500", GITMESH_NODE_IDLE_MS: "3000" } });
after(() => cluster.stop());

const commitsToPush = 60;

test("sixty pushes while nodes die in turn", async () => {
  const terminal = cluster.terminal();
  await cluster.create("loop");
  await terminal.ok("git init -q work && cd work && git remote add origin $GIT/loop.git");
  const work = terminal.in("work");
  const acknowledged: string[] = [];
  let done = false;
  const writer = (async () => {
    while (acknowledged.length < commitsToPush) {
      await work.ok(
        `echo ${acknowledged.length} > file && git add file && git commit -q --allow-empty -m 'commit ${acknowledged.length}'`,
      );
      // A refusal is fine, as long as a later push of the same is taken.
      const refusals: string[] = [];
      await waitFor(
        async () => {
          const push = await work.run("git push -q origin master", { limitMs: 30_000 });
          refusals.push(push.stderr);
          return push.code === 0;
        },
        { what: `commit ${acknowledged.length} to be taken`, limitMs: 60_000 },
      ).catch((error: unknown) => {
        throw new Error(`${String(error)}\n${refusals.join("\n")}`);
      });
      acknowledged.push(await work.ok("git rev-parse HEAD"));
    }
  })().finally(() => {
    done = true;
  });
  const killer = (async () => {
    for (let round = 0; !done; round += 1) {
      const node = `node-${1 + (round % 3)}`;
      const before = acknowledged.length;
      await cluster.kill(node);
      await waitFor(() => done || acknowledged.length >= before + 2, {
        what: "two pushes without it",
        limitMs: 60_000,
      });
      await cluster.start(node);
      await waitFor(async () => done || (await cluster.statusOn(node, "loop")) === "READY", {
        what: `${node} to be READY again`,
        limitMs: 60_000,
      });
    }
    return true;
  })();
  await Promise.all([writer, killer]);
  assert.equal(acknowledged.length, commitsToPush);
  await assertReplicas(cluster, "loop", { commits: acknowledged });
  await terminal.ok("git clone -q $GIT/loop.git again");
  assert.deepEqual((await terminal.ok("git -C again rev-list master")).split("\n").toReversed(), acknowledged);
});
