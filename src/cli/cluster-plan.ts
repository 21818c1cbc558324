/** Which servers `gitmesh up` starts, with which settings. Pure, but for the settings that it takes from outside. */
import { join } from "node:path";
import { z } from "zod";
import { ConfigError, flagOf, loadSettings, type ConfigSources } from "../base/config.ts";
import { controllerSettingsSchema } from "../base/settings.ts";

const portMax = 65_535;
const host = "127.0.0.1";

const wholeNumber = (most: number) =>
  z.coerce
    .number({ error: "must be a number" })
    .int("must be a whole number")
    .min(1, "must be at least 1")
    .max(most, `must be at most ${most}`);

const flagsSchema = z.object({
  controllers: wholeNumber(64),
  nodes: wholeNumber(256),
  data: z.string().min(1, "must not be empty"),
  portBase: wholeNumber(portMax),
});

/** Settings of a controller that `up` has flags for; they may come from the environment or a file as well. */
const controllerPart = z.object({
  database: controllerSettingsSchema.shape.database.unwrap().optional(),
  replicas: controllerSettingsSchema.shape.replicas.unwrap().optional(),
});

export interface ClusterOptions extends z.infer<typeof flagsSchema> {
  readonly database: string | undefined;
  readonly replicas: number;
}

export interface ServerPlan {
  /** As in "node-1": of its pid file, log and lines. */
  readonly name: string;
  readonly role: "controller" | "node" | "console";
  readonly port: number;
  /** Settings. The cluster's secret is among them: never among the arguments, which every process may read. */
  readonly environment: Readonly<Record<string, string>>;
}

/** Throws ConfigError with every mistake. */
export function parseClusterOptions(
  flags: Readonly<Record<string, string | undefined>>,
  environment?: ConfigSources["environment"],
): ClusterOptions {
  const mistakes: string[] = [];
  const parsed = flagsSchema.safeParse(flags);
  for (const issue of parsed.error?.issues ?? []) mistakes.push(`${flagOf(String(issue.path[0]))}: ${issue.message}`);
  let part: z.infer<typeof controllerPart> = {};
  try {
    part = loadSettings(controllerPart, { flags, ...(environment === undefined ? {} : { environment }) });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    mistakes.push(...error.mistakes);
  }
  if (parsed.data !== undefined) mistakes.push(...contradictions(parsed.data, part));
  if (parsed.data === undefined || mistakes.length > 0) throw new ConfigError(mistakes);
  return { ...parsed.data, database: part.database, replicas: part.replicas ?? Math.min(3, parsed.data.nodes) };
}

function contradictions(flags: z.infer<typeof flagsSchema>, part: z.infer<typeof controllerPart>): string[] {
  const { controllers, nodes, portBase } = flags;
  const mistakes: string[] = [];
  if (controllers > 1 && (part.database ?? "sqlite:").startsWith("sqlite:")) {
    mistakes.push("--controllers: more than one controller needs --database with a MySQL, MariaDB or PostgreSQL URL");
  }
  if (part.replicas !== undefined && part.replicas > nodes) {
    mistakes.push(`--replicas: ${part.replicas} replicas need as many repository servers (--nodes)`);
  }
  if (portBase + controllers + nodes > portMax) mistakes.push(`--port-base: the servers need ports above ${portMax}`);
  return mistakes;
}

/** Console at the base port, controllers after it, repository servers after those. */
export function planServers(options: ClusterOptions, data: string, secret: string): ServerPlan[] {
  const { controllers, nodes, portBase, replicas } = options;
  const database = options.database ?? `sqlite:${join(data, "gitmesh.sqlite")}`;
  const controllerPorts = Array.from({ length: controllers }, (_value, index) => portBase + 1 + index);
  const urlsAt = (name: string): string => controllerPorts.map((port) => `http://${name}:${port}`).join(",");
  const plan = (
    name: string,
    role: ServerPlan["role"],
    port: number,
    environment: Record<string, string>,
  ): ServerPlan => ({ name, role, port, environment: { GITMESH_LISTEN: `${host}:${port}`, ...environment } });
  return [
    ...controllerPorts.map((port, index) =>
      plan(`controller-${index + 1}`, "controller", port, {
        GITMESH_SECRET: secret,
        GITMESH_DATABASE: database,
        GITMESH_REPLICAS: String(replicas),
      }),
    ),
    ...Array.from({ length: nodes }, (_value, index) => {
      const port = portBase + 1 + controllers + index;
      return plan(`node-${index + 1}`, "node", port, {
        GITMESH_SECRET: secret,
        // Of its own: one in this environment is meant for the controllers.
        GITMESH_ADVERTISE_URL: `http://${host}:${port}`,
        GITMESH_CONTROLLERS: urlsAt(host),
        GITMESH_DIRECTORY: join(data, `node-${index + 1}`),
      });
    }),
    // Its page shows these URLs to people.
    plan("console", "console", portBase, { GITMESH_CONTROLLERS: urlsAt("localhost") }),
  ];
}
