/** A controller is killed between every two statements of the schema's migrations, on one database. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { freePorts } from "../support/ports.ts";
import { ServerProcess } from "../support/processes.ts";
import { gitmesh } from "../support/servers.ts";
import { cleanEnvironment } from "../support/terminal.ts";
import { waitFor, within } from "../support/wait.ts";

export const migrationPoints = ["migration.statement-run", "migration.recorded"] as const;

/**
 * On `databases[0]` it dies after the first statement, in its next life after the second, and so on, until it serves; on
 * `databases[1]` it dies when the version is written. Both are empty before and complete afterwards.
 */
export async function killMigrations(directory: string, databases: readonly [string, string]): Promise<void> {
  mkdirSync(directory, { recursive: true });
  const [statementRun, recorded] = migrationPoints;
  const port = await freePorts(1);
  let statements = 0;
  while (await diesAt(`${statementRun}:${statements + 1}`, directory, databases[0], port)) statements += 1;
  assert.ok(statements > 5, `${statements} statements`);
  assert.ok(await diesAt(recorded, directory, databases[1], port));
  assert.equal(await diesAt(`${statementRun}:1000`, directory, databases[1], port), false);
}

/** One life of a controller: true when it died at the point, false when it came to serve. */
async function diesAt(point: string, directory: string, database: string, port: number): Promise<boolean> {
  const logFile = join(directory, "controller.log");
  const server = new ServerProcess(gitmesh, ["controller"], {
    cwd: directory,
    env: {
      ...cleanEnvironment(directory),
      GITMESH_SECRET: "secret-of-a-migration-test",
      GITMESH_LISTEN: `127.0.0.1:${port}`,
      GITMESH_DATABASE: database,
      GITMESH_CRASH_POINT: point,
    },
    logFile,
  });
  const url = `http://127.0.0.1:${port}/readyz`;
  await waitFor(async () => !server.running || (await fetch(url)).ok, {
    what: "the controller to serve or to die",
    limitMs: 60_000,
  });
  const died = !server.running;
  if (!died) server.signal("SIGTERM");
  const exit = await within(20_000, "the end of the controller", server.exited);
  assert.equal(exit.signal ?? exit.code, died ? "SIGKILL" : 0, readFileSync(logFile, "utf8"));
  return died;
}
