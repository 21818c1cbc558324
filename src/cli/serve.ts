/** `gitmesh controller`, `gitmesh node` and `gitmesh console`: one server, until it is told to stop. */
import type { z } from "zod";
import { systemClock } from "../base/clock.ts";
import { loadSettings, unknownVariables } from "../base/config.ts";
import { Lifecycle } from "../base/lifecycle.ts";
import { createLogger } from "../base/log.ts";
import { consoleSettingsSchema, controllerSettingsSchema, nodeSettingsSchema } from "../base/settings.ts";
import { requireGit } from "./git-version.ts";

type Role = "controller" | "node" | "console";
type Flags = Record<string, string | undefined>;

interface RunningServer {
  readonly url: string;
  close(): Promise<void>;
}

export async function serve(role: Role, flags: Flags): Promise<number> {
  switch (role) {
    case "controller":
      return run(load(controllerSettingsSchema, flags), async (settings, base) =>
        (await import("../controller/server.ts")).startController(settings, base),
      );
    case "node":
      requireGit();
      return run(load(nodeSettingsSchema, flags), async (settings, base) =>
        (await import("../node/server.ts")).startNode(settings, base),
      );
    case "console":
      return run(load(consoleSettingsSchema, flags), async (settings, base) =>
        (await import("../console/server.ts")).startConsole(settings, base),
      );
  }
}

function load<S extends z.ZodObject>(schema: S, flags: Flags): z.infer<S> {
  const { config, ...settings } = flags;
  return loadSettings(schema, { flags: settings, file: config });
}

async function run<S extends { name: string; logLevel: string; shutdownMs: number }>(
  settings: S,
  start: (
    settings: S,
    base: { log: ReturnType<typeof createLogger>; clock: typeof systemClock; onForeignDisk: () => void },
  ) => Promise<RunningServer>,
): Promise<number> {
  const log = createLogger(settings.name, settings.logLevel);
  for (const name of unknownVariables()) log.warn(`${name} is no setting of gitmesh`);
  const running: RunningServer[] = [];
  const lifecycle = new Lifecycle({
    log,
    clock: systemClock,
    shutdownMs: settings.shutdownMs,
    close: async () => {
      for (const server of running) await server.close();
    },
  });
  const started = start(settings, {
    log,
    clock: systemClock,
    onForeignDisk: () => lifecycle.fail("the disk is not the one that this server started with"),
  }).then((server) => running.push(server));
  // A signal while it starts (it may be waiting for the store) does not wait for that.
  return await Promise.race([started.then(() => lifecycle.ended), lifecycle.ended]);
}
