/** `gitmesh up`: a whole cluster on one machine, each server a process of its own. */
import { accessSync, constants } from "node:fs";
import { join, resolve } from "node:path";
import { systemClock } from "../base/clock.ts";
import { makeDirectoryDurably } from "../base/durable-directory.ts";
import { environmentVariable, unknownVariables } from "../base/config.ts";
import { parseClusterOptions, planServers, type ClusterOptions } from "./cluster-plan.ts";
import { readOrMakeSecret } from "./cluster-secret.ts";
import { requireGit } from "./git-version.ts";
import { say, warn } from "./output.ts";
import { requireFreePorts } from "./ports.ts";
import { takeRunDirectory } from "./run-directory.ts";
import { Supervisor } from "./supervisor.ts";

const readyMs = 60_000;
/** Ctrl-C under npm arrives twice, from the terminal and from npm: that is no second request. */
const sameSignalMs = 500;

/** Runs until it is told to stop. Throws one sentence when the cluster cannot be started. */
export async function up(flags: Readonly<Record<string, string | undefined>>): Promise<number> {
  const options = parseClusterOptions(flags);
  for (const name of unknownVariables()) warn(`gitmesh: ${name} is no setting of gitmesh`);
  const data = resolve(options.data);
  say(`gitmesh: git ${requireGit()}, data in ${data}`);
  makeDirectories(data);
  const releaseRunDirectory = await takeRunDirectory(join(data, "run"));
  try {
    const secret = environmentVariable("GITMESH_SECRET") ?? readOrMakeSecret(join(data, "secret"));
    const plans = planServers(options, data, secret);
    await requireFreePorts(plans);
    const supervisor = new Supervisor({ plans, data, clock: systemClock, say });
    const stopped = untilStopped(supervisor);
    try {
      say(`gitmesh: starting ${plans.map(({ name }) => name).join(", ")} ...`);
      supervisor.start();
      const ready = supervisor.ready(readyMs).then(() => "ready");
      if ((await Promise.race([ready, stopped])) === "ready") sayHello(options);
      await stopped;
    } finally {
      await supervisor.stop();
    }
    say("gitmesh: stopped");
    return 0;
  } finally {
    releaseRunDirectory();
  }
}

/** Resolves with the first signal. Who presses Ctrl-C again does not want to wait. */
function untilStopped(supervisor: Supervisor): Promise<NodeJS.Signals> {
  const { promise, resolve: stop } = Promise.withResolvers<NodeJS.Signals>();
  let firstMs: number | undefined;
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(name, () => {
      if (firstMs === undefined) {
        firstMs = systemClock.monotonicMs();
        say("gitmesh: stopping ...");
        stop(name);
      } else if (systemClock.monotonicMs() - firstMs > sameSignalMs) supervisor.kill();
    });
  }
  return promise;
}

function makeDirectories(data: string): void {
  try {
    for (const name of ["run", "log"]) makeDirectoryDurably(join(data, name));
    accessSync(data, constants.W_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const reasons: Readonly<Record<string, string>> = {
      EACCES: "permission denied",
      EEXIST: "a part of its path is a file",
      ENOENT: "no directory can be made there",
      ENOTDIR: "a part of its path is a file",
      ENOSPC: "the disk is full",
      EROFS: "the file system is read-only",
    };
    const reason = reasons[code ?? ""] ?? code ?? "unknown error";
    throw new Error(`The directory ${data} cannot be written: ${reason}.`, { cause: error });
  }
}

function sayHello({ portBase, controllers, nodes }: ClusterOptions): void {
  const range = (first: number, length: number): string =>
    length === 1 ? `${first}` : `${first}-${first + length - 1}`;
  const url = `http://localhost:${portBase + 1}`;
  say(`
  console              http://localhost:${portBase}
  controller${controllers === 1 ? " " : "s"}          ${url}${controllers === 1 ? "" : ` (ports ${range(portBase + 1, controllers)})`}
  repository servers   port${nodes === 1 ? "" : "s"} ${range(portBase + 1 + controllers, nodes)}

Ready. Make a repository, and clone it:

  curl -XPOST ${url}/api/repos/test
  git clone ${url}/git/test.git

Ctrl-C stops the cluster.`);
}
