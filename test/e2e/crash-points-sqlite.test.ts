/** SQLite: the controller dies between every two statements of the migrations, and at last the cluster serves. */
import { join } from "node:path";
import { after, test } from "node:test";
import { settings } from "../crash-points/crash-test.ts";
import { killMigrations } from "../crash-points/migration.ts";
import { Scene } from "../crash-points/scene.ts";
import { startServers } from "../support/cluster.ts";
import { temporaryDirectory } from "../support/temp.ts";

const temporary = temporaryDirectory();
after(() => temporary.remove());

test("SQLite: the controller dies between every two statements of the migrations", async () => {
  const url = (name: string): string => `sqlite:${join(temporary.path, name)}`;
  await killMigrations(temporary.path, [url("statements.sqlite"), url("recorded.sqlite")]);
  const cluster = await startServers({ database: url("statements.sqlite"), env: settings });
  try {
    await (await Scene.open(cluster, "migrated")).assertWhole();
  } finally {
    await cluster.stop();
  }
});
