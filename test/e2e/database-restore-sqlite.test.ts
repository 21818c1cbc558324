/** An old copy of the SQLite file is put back while the controller is stopped; the nodes go on. */
import { copyFileSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { startServers } from "../support/cluster.ts";
import { restoreSettings, testRestore } from "./database-restore.ts";

const files = ["gitmesh.sqlite", "gitmesh.sqlite-wal", "gitmesh.sqlite-shm"];

testRestore("SQLite", async () => {
  const cluster = await startServers({ env: restoreSettings });
  const backup = join(cluster.dataDirectory, "backup");
  const whileStopped = async (work: () => void): Promise<void> => {
    await cluster.kill("controller-1");
    work();
    await cluster.start("controller-1");
  };
  return {
    cluster,
    save: () =>
      whileStopped(() => {
        mkdirSync(backup);
        for (const file of files) {
          if (existsSync(join(cluster.dataDirectory, file))) {
            copyFileSync(join(cluster.dataDirectory, file), join(backup, file));
          }
        }
      }),
    restore: () =>
      whileStopped(() => {
        for (const file of files) {
          rmSync(join(cluster.dataDirectory, file), { force: true });
          if (existsSync(join(backup, file))) copyFileSync(join(backup, file), join(cluster.dataDirectory, file));
        }
      }),
    stop: () => cluster.stop(),
  };
});
