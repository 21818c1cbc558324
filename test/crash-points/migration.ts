/** A controller is killed between every two statements of the schema's migrations, on one database. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { cleanEnvironment } from "../support/terminal.ts";
import { freePorts } from "../support/ports.ts";
import { ServerProcess } from "../support/processes.ts";
import { gitmesh } from "../support/servers.ts";
import { waitFor, within } from "../support/wait.ts";

/** Lives of one controller each, in a directory of the test. */
export class MigratingController {
  readonly #directory: string;
  readonly #database: string;
  readonly #port: number;

  private constructor(directory: string, database: string, port: number) {
    this.#directory = directory;
    this.#database = database;
    this.#port = port;
  }

  static async open(directory: string, database: string): Promise<MigratingController> {
    mkdirSync(directory, { recursive: true });
    return new MigratingController(directory, database, await freePorts(1));
  }

  /** True when the process died at the point; false when it came to serve. */
  async diesAt(point: string): Promise<boolean> {
    const logFile = join(this.#directory, "controller.log");
    const server = new ServerProcess(gitmesh, ["controller"], {
      cwd: this.#directory,
      env: {
        ...cleanEnvironment(this.#directory),
        GITMESH_SECRET: "secret-of-a-migration-test",
        GITMESH_LISTEN: `127.0.0.1:${this.#port}`,
        GITMESH_DATABASE: this.#database,
        GITMESH_CRASH_POINT: point,
      },
      logFile,
    });
    const serves = async (): Promise<boolean> =>
      !server.running || (await fetch(`http://127.0.0.1:${this.#port}/healthz`)).ok;
    await waitFor(serves, { what: "the controller to serve or to die" });
    const died = !server.running;
    server.signal("SIGTERM");
    const exit = await within(20_000, "the end of the controller", server.exited);
    if (died) assert.equal(exit.signal, "SIGKILL", readFileSync(logFile, "utf8"));
    else assert.equal(exit.code, 0);
    return died;
  }

  /** Dies after the first statement, then after the second of the next life, and so on. Gives how many lives that took. */
  async dieAfterEachStatement(): Promise<number> {
    for (let statement = 1; ; statement += 1) {
      if (!(await this.diesAt(`migration.statement-run:${statement}`))) return statement - 1;
      // Before the controller's last statement it has not recorded the version; this is the moment after it did.
      if (statement === 1) assert.ok(await this.diesAt("migration.recorded"));
    }
  }
}
