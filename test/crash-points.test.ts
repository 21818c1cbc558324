/** Every crash point stands at one place of the sources and is killed at by a test; no test names one that is not there. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { crashPoints } from "../src/base/crash-point.ts";
import { bothTests } from "./crash-points/both-tests.ts";
import { failoverTests } from "./crash-points/failover-tests.ts";
import { migrationPoints } from "./crash-points/migration.ts";
import { applyTests, stageTests } from "./crash-points/node-push-tests.ts";
import { replicaTests, startTests } from "./crash-points/node-repository-tests.ts";
import { pushTests } from "./crash-points/push-tests.ts";
import { catchUpTests, repairTests } from "./crash-points/repair-tests.ts";
import { createTests, deleteTests, updateTests } from "./crash-points/repository-tests.ts";
import { gitmesh } from "./support/servers.ts";

const root = join(import.meta.dirname, "..");
const catalogue = Object.keys(crashPoints).toSorted();
/** Each of these is run as a whole by a file test/e2e/crash-points-*.test.ts. */
const lists = {
  pushTests,
  stageTests,
  applyTests,
  createTests,
  updateTests,
  deleteTests,
  replicaTests,
  startTests,
  catchUpTests,
  repairTests,
  failoverTests,
  bothTests,
};

test("each crash point stands at exactly one place", () => {
  const placed = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts"))
    .flatMap((name) => [...readFileSync(join(root, "src", name), "utf8").matchAll(/\bcrashPoint\("([^"]+)"\)/g)])
    .map(([, name]) => name ?? "");
  assert.deepEqual(placed.toSorted(), catalogue);
});

test("a test kills at each crash point, and names no other", () => {
  const alone = Object.values(lists)
    .flat()
    .filter((crashTest) => crashTest.crashes.length === 1);
  const killed = alone.flatMap(({ crashes }) => crashes.map(({ point }) => point.replace(/:\d+$/, "")));
  assert.deepEqual([...new Set([...killed, ...migrationPoints])].toSorted(), catalogue);
  for (const { crashes } of bothTests) {
    const roles = new Set(crashes.map(({ server }) => server.replace(/-\d+$/, "")));
    assert.deepEqual([...roles].toSorted(), ["controller", "node"]);
    for (const { point } of crashes) assert.ok(catalogue.includes(point.replace(/:\d+$/, "")), point);
  }
});

test("every list of crash tests is run", () => {
  const files = readdirSync(join(root, "test/e2e")).filter((name) => name.startsWith("crash-points-"));
  const text = files.map((name) => readFileSync(join(root, "test/e2e", name), "utf8")).join("\n");
  const run = [...text.matchAll(/^runCrashTests\(\[?([^\]),]+(?:, \.\.\.\w+)*)/gm)].flatMap(([, names = ""]) =>
    names.split(", ").map((name) => name.replace("...", "")),
  );
  assert.deepEqual(run.toSorted(), Object.keys(lists).toSorted());
});

test("a point that is not there cannot be armed", () => {
  const { status, stderr } = spawnSync(gitmesh, ["controller"], {
    encoding: "utf8",
    env: {
      PATH: process.env["PATH"],
      GITMESH_SECRET: "secret-of-a-test-cluster",
      GITMESH_LISTEN: "127.0.0.1:0",
      GITMESH_DATABASE: "sqlite::memory:",
      GITMESH_CRASH_POINT: "push.applauded",
    },
  });
  assert.equal(status, 1);
  assert.match(stderr, /there is no crash point push\.applauded/);
});
