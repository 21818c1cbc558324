/** PostgreSQL is restored from an old dump under a running controller. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { startServers } from "../support/cluster.ts";
import { availableEngines, startDatabase } from "../support/databases.ts";
import { needs } from "../support/requirement.ts";
import { restoreSettings, testRestore } from "./database-restore.ts";

const { skip } = needs("PostgreSQL", availableEngines().includes("postgres"));
if (skip === undefined) {
  testRestore("PostgreSQL", async () => {
    const database = await startDatabase("postgres");
    const cluster = await startServers({ database: database.url, env: restoreSettings });
    const file = join(cluster.dataDirectory, "dump.sql");
    return {
      cluster,
      save: async () => database.dump(file),
      restore: async () => database.load(file),
      stop: async () => {
        try {
          await cluster.stop();
        } finally {
          await database.stop();
        }
      },
    };
  });

  test("PostgreSQL: a push right after the restore, before any node has told where it is, is refused", async (t) => {
    const database = await startDatabase("postgres");
    t.after(() => database.stop());
    const env = { GITMESH_HEARTBEAT_INTERVAL_MS: "60000", GITMESH_NODE_TIMEOUT_MS: "600000" };
    const cluster = await startServers({ database: database.url, env });
    t.after(() => cluster.stop());
    const file = join(cluster.dataDirectory, "dump.sql");
    await cluster.create("soon");
    await cluster.create("deletes");
    const terminal = cluster.terminal();
    await terminal.ok(`
      git init -q work && cd work && git commit -q --allow-empty -m first && git branch topic
      for name in soon deletes; do git push -q $GIT/$name.git master topic; done
    `);
    const work = terminal.in("work");
    database.dump(file);
    await work.ok("git commit -q --allow-empty -m second");
    for (const name of ["soon", "deletes"]) {
      await work.ok(`git push -q $GIT/${name}.git master`);
      await cluster.waitReady(name);
    }
    database.load(file);
    const pushes = {
      soon: "git push -f $GIT/soon.git HEAD~1:refs/heads/other",
      deletes: "git push $GIT/deletes.git :topic",
    };
    for (const [name, push] of Object.entries(pushes)) {
      const refused = await work.fails(push);
      assert.match(refused, new RegExp(`the metadata store has lost pushes .* gitmesh repo adopt ${name}`));
      assert.equal((await cluster.show(name)).generation, 1, "nothing was committed");
      const adopted = await cluster.cli("repo", "adopt", name, "--yes");
      assert.equal(adopted.code, 0, adopted.stdout + adopted.stderr);
      const values = await work.ok(`git ls-remote $GIT/${name}.git refs/heads/master | cut -f1`);
      assert.equal(values, await work.ok("git rev-parse master"));
    }
  });
} else test("PostgreSQL is restored from an old dump", { skip });
