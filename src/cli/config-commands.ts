/** `gitmesh config check` and `gitmesh config show`. */
import { loadSettings, shownSettings, unknownVariables } from "../base/config.ts";
import { consoleSettingsSchema, controllerSettingsSchema, nodeSettingsSchema } from "../base/settings.ts";
import { say, table, warn } from "./output.ts";

const schemas = {
  controller: controllerSettingsSchema,
  node: nodeSettingsSchema,
  console: consoleSettingsSchema,
} as const;
type Role = keyof typeof schemas;
type Options = Record<string, string | boolean | undefined>;

/** Throws ConfigError with every mistake. */
export async function check(role: Role, options: Options): Promise<void> {
  load(role, options);
  for (const name of unknownVariables()) warn(`${name} is no setting of gitmesh`);
  say(options["json"] === true ? JSON.stringify({ ok: true }) : "The settings are well-formed.");
}

export async function show(role: Role, options: Options): Promise<void> {
  const shown = shownSettings(load(role, options));
  if (options["json"] === true) say(JSON.stringify(shown, null, 2));
  else say(table(Object.entries(shown).map(([name, value]) => [name, String(value)])));
}

function load(role: Role, options: Options): Readonly<Record<string, unknown>> {
  const flags: Record<string, string | undefined> = {};
  for (const [name, value] of Object.entries(options)) if (typeof value === "string") flags[name] = value;
  return loadSettings(schemas[role], { flags, file: flags["config"] });
}
