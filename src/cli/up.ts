/** `gitmesh up`: a whole cluster on one machine, each server a process of its own. */
import { accessSync, constants, mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { z } from "zod";
import { systemClock } from "../base/clock.ts";
import { ConfigError, environmentVariable } from "../base/config.ts";
import { say } from "./output.ts";
import { requireGit } from "./git-version.ts";
import { readOrMakeSecret } from "./cluster-secret.ts";
import { requireFreePorts } from "./ports.ts";
import { takeRunDirectory } from "./run-directory.ts";
import { Supervisor, type ServerPlan } from "./supervisor.ts";

const readyMs = 60_000;
const count = (most: number) =>
  z.coerce
    .number({ error: "must be a number" })
    .int("must be a whole number")
    .min(1, "must be at least 1")
    .max(most, `must be at most ${most}`);

const optionsSchema = z.object({
  controllers: count(64),
  nodes: count(256),
  replicas: count(16).optional(),
  data: z.string().min(1),
  database: z.string().min(1).optional(),
  portBase: z.coerce
    .number({ error: "must be a number" })
    .int("must be a whole number")
    .min(1, "must be at least 1")
    .max(65_000, "must be at most 65000"),
});
type UpOptions = z.infer<typeof optionsSchema>;

/** Runs until it is told to stop. Throws one sentence when the cluster cannot be started. */
export async function up(flags: Record<string, string | undefined>): Promise<number> {
  const options = parseOptions(flags);
  const data = resolve(options.data);
  say(`gitmesh: git ${requireGit()}, data in ${data}`);
  makeDirectories(data);
  const releaseRunDirectory = await takeRunDirectory(join(data, "run"));
  try {
    const secret = readOrMakeSecret(join(data, "secret"));
    const plans = planServers(options, data, secret);
    await requireFreePorts(plans.map(({ name, port }) => ({ name, port })));
    const supervisor = new Supervisor({ plans, data, clock: systemClock, say });
    const stopped = Promise.withResolvers<void>();
    const stop = (): void => {
      say("gitmesh: stopping ...");
      stopped.resolve();
      // Who presses Ctrl-C again does not want to wait.
      process.once("SIGINT", () => supervisor.kill());
    };
    process.once("SIGINT", stop);
    process.once("SIGTERM", stop);
    try {
      say(`gitmesh: starting ${plans.map(({ name }) => name).join(", ")} ...`);
      supervisor.start();
      await Promise.race([supervisor.ready(readyMs), stopped.promise]);
      if (!supervisor.stopping) sayHello(options);
      await stopped.promise;
    } finally {
      await supervisor.stop();
    }
    say("gitmesh: stopped");
    return 0;
  } finally {
    releaseRunDirectory();
  }
}

function parseOptions(flags: Record<string, string | undefined>): UpOptions {
  const parsed = optionsSchema.safeParse(flags);
  const mistakes = (parsed.error?.issues ?? []).map((issue) => {
    const name = String(issue.path[0]).replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    return `--${name}: ${issue.message}`;
  });
  const options = parsed.data;
  if (options !== undefined && options.controllers > 1 && (options.database ?? "sqlite:").startsWith("sqlite:")) {
    mistakes.push("--controllers: more than one controller needs --database with a MySQL, MariaDB or PostgreSQL URL");
  }
  if (options?.replicas !== undefined && options.replicas > options.nodes) {
    mistakes.push(`--replicas: ${options.replicas} replicas need as many repository servers (--nodes)`);
  }
  if (options === undefined || mistakes.length > 0) throw new ConfigError(mistakes);
  return options;
}

function makeDirectories(data: string): void {
  try {
    for (const name of ["run", "log"]) mkdirSync(join(data, name), { recursive: true });
    accessSync(data, constants.W_OK);
  } catch (error) {
    throw new Error(
      `The directory ${data} cannot be written (${(error as NodeJS.ErrnoException).code ?? "unknown error"}).`,
      {
        cause: error,
      },
    );
  }
}

/** Console at the base port, controllers after it, repository servers after those. */
function planServers(options: UpOptions, data: string, secret: string): ServerPlan[] {
  const { controllers, nodes, portBase } = options;
  const controllerPorts = Array.from({ length: controllers }, (_value, index) => portBase + 1 + index);
  const controllerUrls = controllerPorts.map((port) => `http://127.0.0.1:${port}`).join(",");
  const database =
    options.database ?? environmentVariable("GITMESH_DATABASE") ?? `sqlite:${join(data, "gitmesh.sqlite")}`;
  const replicas = String(options.replicas ?? environmentVariable("GITMESH_REPLICAS") ?? Math.min(3, nodes));
  const plan = (
    name: string,
    role: ServerPlan["role"],
    port: number,
    environment: Record<string, string>,
  ): ServerPlan => ({
    name,
    role,
    port,
    environment: { GITMESH_NAME: name, GITMESH_LISTEN: `127.0.0.1:${port}`, ...environment },
  });
  return [
    ...controllerPorts.map((port, index) =>
      plan(`controller-${index + 1}`, "controller", port, {
        GITMESH_SECRET: secret,
        GITMESH_DATABASE: database,
        GITMESH_REPLICAS: replicas,
      }),
    ),
    ...Array.from({ length: nodes }, (_value, index) =>
      plan(`node-${index + 1}`, "node", portBase + 1 + controllers + index, {
        GITMESH_SECRET: secret,
        GITMESH_CONTROLLERS: controllerUrls,
        GITMESH_DIRECTORY: join(data, `node-${index + 1}`),
      }),
    ),
    plan("console", "console", portBase, { GITMESH_CONTROLLERS: controllerUrls }),
  ];
}

function sayHello(options: UpOptions): void {
  const { portBase, controllers, nodes } = options;
  const range = (first: number, length: number): string =>
    length === 1 ? `${first}` : `${first}-${first + length - 1}`;
  const url = `http://localhost:${portBase + 1}`;
  say(`
  console              http://localhost:${portBase}
  controller${controllers === 1 ? " " : "s"}          ${url}${controllers === 1 ? "" : ` (ports ${range(portBase + 1, controllers)})`}
  repository servers   ports ${range(portBase + 1 + controllers, nodes)}

Ready. Make a repository, and push to it:

  curl -XPOST ${url}/api/repos/test
  git clone ${url}/git/test.git

Ctrl-C stops the cluster.`);
}
