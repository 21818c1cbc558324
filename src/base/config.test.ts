/** Settings from defaults, a file, the environment and flags; mistakes all at once. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import {
  ConfigError,
  describeSettings,
  flagOf,
  loadSettings,
  shownSettings,
  unknownVariables,
  variableOf,
} from "./config.ts";
import { consoleSettingsSchema, controllerSettingsSchema, nodeSettingsSchema } from "./settings.ts";

const directory = mkdtempSync(join(tmpdir(), "gitmesh-config-"));
after(() => rmSync(directory, { recursive: true }));

const secret = "a-secret-of-the-cluster";

function fileWith(text: string): string {
  const path = join(directory, "gitmesh.json");
  writeFileSync(path, text);
  return path;
}

function mistakesOf(load: () => unknown): readonly string[] {
  try {
    load();
  } catch (error) {
    if (error instanceof ConfigError) return error.mistakes;
    throw error;
  }
  return assert.fail("should have refused the settings");
}

test("a flag is stronger than the environment, that than the file, that than the default", () => {
  const file = fileWith(JSON.stringify({ replicas: 4, nodeTimeoutMs: 4000, leaseMs: 4000, secret }));
  const environment = {
    GITMESH_CONFIG: file,
    GITMESH_REPLICAS: "5",
    GITMESH_NODE_TIMEOUT_MS: "5000",
    GITMESH_LEASE_MS: "",
  };
  const settings = loadSettings(controllerSettingsSchema, { flags: { replicas: "6" }, environment });
  assert.equal(settings.replicas, 6);
  assert.equal(settings.nodeTimeoutMs, 5000);
  assert.equal(settings.leaseMs, 4000, "an empty variable is none");
  assert.equal(settings.applyMs, 5000);
  assert.equal(settings.writeQuorum, undefined);
});

test("one file serves all kinds of servers, and lists may be lists", () => {
  const file = fileWith(JSON.stringify({ controllers: ["http://a:1/", "http://b:2"], database: "sqlite:x", secret }));
  const settings = loadSettings(nodeSettingsSchema, { flags: {}, file, environment: {} });
  assert.deepEqual(settings.controllers, ["http://a:1", "http://b:2"]);
});

test("every mistake is reported at once, with its place and without the secret", () => {
  const file = fileWith(
    JSON.stringify({ replica: 3, leaseMs: true, toString: "x", applyMs: 1.5, secret: "short secret" }),
  );
  const mistakes = mistakesOf(() =>
    loadSettings(controllerSettingsSchema, {
      flags: { listen: "8081", replicas: "many" },
      file,
      environment: { GITMESH_DISK_USAGE_MAX: "2", GITMESH_DATABASE: "oracle://me:pass@word@db/x" },
    }),
  );
  assert.deepEqual(
    mistakes.toSorted(),
    [
      "--listen: must be HOST:PORT, as in 127.0.0.1:8081 (it is 8081)",
      "--replicas: must be a number (it is many)",
      "GITMESH_DATABASE: must be sqlite:FILE, mysql://, mariadb:// or postgres:// (it is oracle://me:(hidden)@db/x)",
      "GITMESH_DISK_USAGE_MAX: Too big: expected number to be <=1 (it is 2)",
      `${file}: applyMs: must be a whole number (it is 1.5)`,
      `${file}: leaseMs: must be a number (it is true)`,
      `${file}: replica: there is no such setting`,
      `${file}: secret: must have at least 16 characters (it is (hidden))`,
      `${file}: toString: there is no such setting`,
    ].toSorted(),
  );
});

test("what must be set says how", () => {
  assert.deepEqual(
    mistakesOf(() => loadSettings(nodeSettingsSchema, { flags: {}, environment: {} })),
    [
      "secret: must be set, by --secret, GITMESH_SECRET or a file",
      "controllers: must be set, by --controllers, GITMESH_CONTROLLERS or a file",
    ],
  );
});

test("a file that cannot be read, or holds something else, is a mistake", () => {
  const load = (file: string) => () =>
    loadSettings(consoleSettingsSchema, { flags: { controllers: "http://a" }, file, environment: {} });
  assert.match(mistakesOf(load(join(directory, "none.json")))[0] ?? "", /none\.json: ENOENT/);
  assert.match(mistakesOf(load(fileWith("{")))[0] ?? "", /gitmesh\.json: .*JSON/);
  assert.match(mistakesOf(load(fileWith("[]")))[0] ?? "", /must hold one JSON object/);
});

test("secrets are hidden from those who look", () => {
  const database = "postgres://me:pa:ss@w@rd@db:5432/gitmesh";
  const settings = loadSettings(controllerSettingsSchema, { flags: { secret, database }, environment: {} });
  const shown = shownSettings(settings);
  assert.equal(shown["secret"], "(hidden)");
  assert.equal(shown["database"], "postgres://me:(hidden)@db:5432/gitmesh");
  assert.doesNotMatch(JSON.stringify(shown), new RegExp(`${secret}|w@rd|pa:ss`));
});

test("a misspelt variable is found", () => {
  const environment = { GITMESH_REPLICA: "3", GITMESH_REPLICAS: "3", GITMESH_CONFIG: "x", GITMESH_URL: "x", PATH: "x" };
  assert.deepEqual(unknownVariables(environment), ["GITMESH_REPLICA"]);
});

test("every setting has a description, and a default or the mark that it must be set", () => {
  for (const schema of [controllerSettingsSchema, nodeSettingsSchema, consoleSettingsSchema]) {
    const settings = describeSettings(schema);
    assert.deepEqual(
      settings.map(({ name }) => name),
      Object.keys(schema.shape),
    );
    for (const { name, description, flag, variable } of settings) {
      assert.notEqual(description, "", name);
      assert.equal(flag, flagOf(name));
      assert.equal(variable, variableOf(name));
    }
  }
  assert.equal(flagOf("nodeTimeoutMs"), "--node-timeout-ms");
  assert.equal(variableOf("nodeTimeoutMs"), "GITMESH_NODE_TIMEOUT_MS");
});
