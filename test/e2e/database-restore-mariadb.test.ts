/** MariaDB is restored from an old dump while the controller is stopped; the nodes go on. */
import { join } from "node:path";
import { test } from "node:test";
import { startServers } from "../support/cluster.ts";
import { availableEngines, startDatabase } from "../support/databases.ts";
import { needs } from "../support/requirement.ts";
import { restoreSettings, testRestore } from "./database-restore.ts";

const { skip } = needs("MariaDB", availableEngines().includes("mariadb"));
if (skip === undefined) {
  testRestore("MariaDB", async () => {
    const database = await startDatabase("mariadb");
    const cluster = await startServers({ database: database.url, env: restoreSettings });
    const file = join(cluster.dataDirectory, "dump.sql");
    return {
      cluster,
      save: async () => database.dump(file),
      restore: async () => {
        await cluster.kill("controller-1");
        database.load(file);
        cluster.servers.start("controller-1");
      },
      stop: async () => {
        try {
          await cluster.stop();
        } finally {
          await database.stop();
        }
      },
    };
  });
} else test("MariaDB is restored from an old dump", { skip });
