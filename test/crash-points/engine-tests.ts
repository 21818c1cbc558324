/** On a database server: migrations that are killed, and transactions whose controller dies before COMMIT or after. */
import { after, before, test } from "node:test";
import { join } from "node:path";
import { startServers, type Cluster } from "../support/cluster.ts";
import { availableEngines, startDatabase, type ServerEngine, type TestDatabase } from "../support/databases.ts";
import { needs } from "../support/requirement.ts";
import type { Separate } from "../support/servers.ts";
import { temporaryDirectory } from "../support/temp.ts";
import { runCrashTest, settings, titleOf, type CrashTest } from "./crash-test.ts";
import { killMigrations } from "./migration.ts";
import { pushTests } from "./push-tests.ts";
import { repairTests } from "./repair-tests.ts";
import { createTests, deleteTests, updateTests } from "./repository-tests.ts";
import { Scene } from "./scene.ts";

const points = [
  "push.refs-written",
  "push.committed",
  "create.rows-written",
  "update.rows-written",
  "delete.rows-deleted",
  "promote.row-written",
];

function transactionTests(): CrashTest[] {
  const all = [...pushTests, ...createTests, ...updateTests, ...deleteTests, ...repairTests];
  return points.flatMap((point) => all.find(({ crashes }) => crashes[0]?.point === point) ?? []);
}

/** Also that the schema is the right one after all: the cluster starts on the database whose migrations were killed. */
export function runEngineTests(engine: ServerEngine, name: string): void {
  const { skip } = needs(name, availableEngines().includes(engine));
  if (skip !== undefined) {
    test(`crash points on ${name}`, { skip });
    return;
  }
  const temporary = temporaryDirectory();
  let database: TestDatabase;
  let cluster: Cluster<Separate> | undefined;
  before(async () => {
    database = await startDatabase(engine);
  });
  after(async () => {
    try {
      await cluster?.stop();
    } finally {
      await database.stop();
      temporary.remove();
    }
  });

  test(`${name}: the controller dies between every two statements of the migrations`, async () => {
    await killMigrations(join(temporary.path, "migrations"), [database.url, await database.create("recorded")]);
    cluster = await startServers({ database: database.url, env: settings });
    await (await Scene.open(cluster, "migrated")).assertWhole();
  });

  for (const [index, crashTest] of transactionTests().entries()) {
    test(`${name}: ${titleOf(crashTest)}`, async () => {
      cluster ??= await startServers({ database: database.url, env: settings });
      await runCrashTest(cluster, crashTest, `crash-${index + 1}`);
    });
  }
}
