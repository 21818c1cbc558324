/** `gitmesh up` and kill -9: the README's claim that a node can die without anybody noticing. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { startCluster } from "../support/cluster.ts";
import { assertReplicas } from "../support/replicas.ts";
import { waitFor } from "../support/wait.ts";

const cluster = await startCluster();
after(() => cluster.stop());

test("each server is killed in turn; it is started again, and pushes and clones go on", async () => {
  const terminal = cluster.terminal();
  await cluster.create("killed");
  await terminal.ok("git init -q work && cd work && git remote add origin $GIT/killed.git");
  const commits: string[] = [];
  for (const server of ["node-1", "node-2", "node-3", "controller-1"]) {
    const pid = cluster.pid(server);
    await cluster.kill(server);
    if (server === "controller-1") await cluster.waitServing();
    await terminal.ok(`cd work && git commit -q --allow-empty -m 'without ${server}' && git push -q origin master`);
    commits.push(await terminal.ok("git -C work rev-parse HEAD"));
    await terminal.ok("rm -rf clone && git clone -q $GIT/killed.git clone");
    assert.equal(await terminal.ok("git -C clone rev-parse HEAD"), commits.at(-1));
    await waitFor(() => cluster.pid(server) !== pid, { what: `${server} to be started again` });
    await cluster.waitServing();
    await assertReplicas(cluster, "killed", { commits });
  }
});
