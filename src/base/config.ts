/**
 * Reads settings (settings.ts) from defaults < a JSON file < the environment < flags, and reports every mistake at once.
 * The only reader of the environment besides search-path.ts.
 */
import { readFileSync } from "node:fs";
import type { z } from "zod";
import { messageOf } from "./errors.ts";
import { consoleSettingsSchema, controllerSettingsSchema, nodeSettingsSchema } from "./settings.ts";

/** Where a value came from, in the words of the person who gave it. */
interface GivenValue {
  readonly value: unknown;
  readonly source: string;
}

export interface SettingDescription {
  readonly name: string;
  readonly flag: string;
  readonly variable: string;
  readonly description: string;
  /** As text; "" when there is none. */
  readonly defaultValue: string;
  readonly required: boolean;
}

/** Mistakes in settings; the message lists all of them, a line each. */
export class ConfigError extends Error {
  readonly mistakes: readonly string[];

  constructor(mistakes: readonly string[]) {
    super(mistakes.join("\n"));
    this.name = "ConfigError";
    this.mistakes = mistakes;
  }
}

export interface ConfigSources {
  /** Values of flags by setting name; undefined where a flag was not given. */
  readonly flags: Readonly<Record<string, string | undefined>>;
  /** Path of a JSON file with settings; GITMESH_CONFIG otherwise. */
  readonly file?: string | undefined;
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

/** Variables that are no settings of a server. */
const otherVariables = new Set(["GITMESH_CONFIG", "GITMESH_URL", "GITMESH_TEST_ALL", "GITMESH_CRASH_POINT"]);
const hidden = "(hidden)";
const secretNames = new Set(["secret"]);
const allSchemas: readonly z.ZodObject[] = [controllerSettingsSchema, nodeSettingsSchema, consoleSettingsSchema];

/**
 * The settings in force. Throws ConfigError with every mistake. One file may serve several servers: what only another
 * kind of server has is passed over.
 */
export function loadSettings<S extends z.ZodObject>(schema: S, sources: ConfigSources): z.infer<S> {
  const { environment = process.env } = sources;
  const mistakes: string[] = [];
  const given = new Map<string, GivenValue>();
  const file = sources.file ?? environment["GITMESH_CONFIG"];
  if (file !== undefined) {
    for (const [name, written] of Object.entries(readFile(file, mistakes))) {
      const source = `${file}: ${name}`;
      const value = plainValue(written);
      if (!allSchemas.some(({ shape }) => Object.hasOwn(shape, name)))
        mistakes.push(`${source}: there is no such setting`);
      else if (value === undefined) mistakes.push(`${source}: must be a text, a number or a list of texts`);
      else if (Object.hasOwn(schema.shape, name)) given.set(name, { value, source });
    }
  }
  for (const name of Object.keys(schema.shape)) {
    const value = environment[variableOf(name)];
    if (value !== undefined && value !== "") given.set(name, { value, source: variableOf(name) });
  }
  for (const [name, value] of Object.entries(sources.flags)) {
    if (value !== undefined && Object.hasOwn(schema.shape, name)) given.set(name, { value, source: flagOf(name) });
  }
  const parsed = schema.safeParse(Object.fromEntries([...given].map(([name, { value }]) => [name, value])));
  for (const issue of parsed.error?.issues ?? []) {
    const name = String(issue.path[0] ?? "");
    const value = given.get(name);
    if (value === undefined) mistakes.push(`${name}: must be set, by ${flagOf(name)}, ${variableOf(name)} or a file`);
    else mistakes.push(`${value.source}: ${reasonOf(issue)} (it is ${shownValue(name, value.value)})`);
  }
  if (mistakes.length > 0 || parsed.data === undefined) throw new ConfigError(mistakes);
  return parsed.data;
}

/** Lists may be written as such in a file; undefined for what no setting is made of. */
function plainValue(written: unknown): string | number | undefined {
  if (typeof written === "string" || typeof written === "number") return written;
  if (typeof written === "boolean") return String(written);
  if (Array.isArray(written) && written.every((item) => typeof item === "string")) return written.join(",");
  return undefined;
}

/** A mistake in words for whoever wrote the value. */
function reasonOf(issue: z.core.$ZodIssue): string {
  if (issue.code !== "invalid_type") return issue.message;
  if (issue.expected === "number") return "must be a number";
  return issue.expected === "int" ? "must be a whole number" : issue.message;
}

/** GITMESH_ variables that mean nothing to any server: most likely misspelt. */
export function unknownVariables(environment: Readonly<Record<string, string | undefined>> = process.env): string[] {
  const settings = allSchemas.flatMap((schema) => Object.keys(schema.shape).map(variableOf));
  const known = new Set([...otherVariables, ...settings]);
  return Object.keys(environment).filter((name) => name.startsWith("GITMESH_") && !known.has(name));
}

/** Settings for people: lists joined, secrets (also those inside URLs) hidden. */
export function shownSettings(settings: Readonly<Record<string, unknown>>): Record<string, string | number> {
  const shown: Record<string, string | number> = {};
  for (const [name, value] of Object.entries(settings)) {
    shown[name] = typeof value === "number" ? value : shownValue(name, value);
  }
  return shown;
}

function shownValue(name: string, value: unknown): string {
  if (secretNames.has(name)) return hidden;
  const text = Array.isArray(value) ? value.join(",") : String(value);
  // A password may have "@" and "/" in it: up to the last "@" nothing is shown.
  return text.replace(/(:\/\/[^:@/]*):.*@/, `$1:${hidden}@`);
}

/** Every setting of a schema, for help texts and docs/settings.md. */
export function describeSettings(schema: z.ZodObject): SettingDescription[] {
  return Object.entries(schema.shape).map(([name, field]) => {
    const type = field as z.ZodType;
    const absent = type.safeParse(undefined);
    return {
      name,
      flag: flagOf(name),
      variable: variableOf(name),
      description: describe(type),
      defaultValue:
        absent.success && absent.data !== undefined ? JSON.stringify(absent.data).replace(/^"(.*)"$/, "$1") : "",
      required: !absent.success,
    };
  });
}

/** The description may stand on the type or on what a default or optional wraps. */
function describe(type: z.ZodType): string {
  let current: z.ZodType | undefined = type;
  while (current !== undefined) {
    if (current.description !== undefined) return current.description;
    current = (current.def as { innerType?: z.ZodType }).innerType;
  }
  return "";
}

/** One variable of the environment, for the few that are no settings. */
export function environmentVariable(name: string): string | undefined {
  const value = process.env[name];
  return value === "" ? undefined : value;
}

/** The whole environment, to be passed on to a server that is started. */
export function environmentOfChild(additions: Readonly<Record<string, string>>): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) if (value !== undefined) environment[name] = value;
  return { ...environment, ...additions };
}

export function variableOf(name: string): string {
  return `GITMESH_${name.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

export function flagOf(name: string): string {
  return `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function readFile(path: string, mistakes: string[]): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(readFileSync(path, "utf8"));
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
    mistakes.push(`${path}: must hold one JSON object`);
  } catch (error) {
    mistakes.push(`${path}: ${messageOf(error)}`);
  }
  return {};
}
