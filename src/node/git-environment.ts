/** What every git runs with: nothing of the server's own environment, and protections that no repository can lift. */
import { searchPath } from "../base/search-path.ts";

/** The environment's configuration outranks what a repository's own config says. */
const fixedConfig: Readonly<Record<string, string>> = {
  "core.hooksPath": "/dev/null",
  "core.logAllRefUpdates": "false",
  "core.fsync": "loose-object,pack,pack-metadata,commit-graph,reference",
  "core.fsyncMethod": "fsync",
  "gc.auto": "0",
  "maintenance.auto": "false",
  "pack.threads": "2",
  "pack.writeReverseIndex": "true",
  "protocol.allow": "never",
  "receive.autogc": "false",
  "safe.directory": "*",
  "uploadpack.allowFilter": "true",
  "uploadpack.allowAnySHA1InWant": "true",
  "transfer.advertiseSID": "false",
  // Objects always stay in packs: one file to make durable and to move.
  "transfer.unpackLimit": "1",
};

/** The whole environment of one run; `config` is added to the fixed configuration, key to value. */
export function gitEnvironment(
  env: Readonly<Record<string, string>>,
  config: Readonly<Record<string, string>>,
): Record<string, string> {
  const pairs = Object.entries({ ...fixedConfig, ...config });
  const environment: Record<string, string> = {
    PATH: searchPath,
    HOME: "/nonexistent",
    LANG: "C",
    LC_ALL: "C",
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_TERMINAL_PROMPT: "0",
    GIT_ATTR_NOSYSTEM: "1",
    // refs/replace/* are a client's: they must not stand in for objects when those are checked.
    GIT_NO_REPLACE_OBJECTS: "1",
    GIT_CONFIG_COUNT: String(pairs.length),
    ...env,
  };
  for (const [index, [key, value]] of pairs.entries()) {
    environment[`GIT_CONFIG_KEY_${index}`] = key;
    environment[`GIT_CONFIG_VALUE_${index}`] = value;
  }
  return environment;
}
