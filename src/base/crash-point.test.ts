import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const module_ = fileURLToPath(new URL("crash-point.ts", import.meta.url));

/** Passes "push.staged" three times and "push.committed" once, with handlers that must not run. */
const script = `
  const { crashPoint } = await import(${JSON.stringify(module_)});
  process.on("exit", () => console.log("handler"));
  for (let time = 1; time <= 3; time += 1) { crashPoint("push.staged"); console.log("after " + time); }
  crashPoint("push.committed");
`;

function run(point?: string): { signal: string | null; status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, ["--input-type=module", "-e", script], {
    encoding: "utf8",
    env: point === undefined ? {} : { GITMESH_CRASH_POINT: point },
  });
}

test("unarmed, nothing happens", () => {
  const { status, stdout, stderr } = run();
  assert.deepEqual([status, stdout, stderr], [0, "after 1\nafter 2\nafter 3\nhandler\n", ""]);
});

test("armed, the process ends by SIGKILL at the first time; with a number, at that time", () => {
  for (const [point, seen] of [
    ["push.staged", ""],
    ["push.staged:3", "after 1\nafter 2\n"],
    ["push.committed", "after 1\nafter 2\nafter 3\n"],
  ] as const) {
    const { signal, stdout, stderr } = run(point);
    assert.deepEqual([signal, stdout, stderr], ["SIGKILL", seen, `crash point ${point.replace(":3", "")}\n`]);
  }
});

test("armed for a later time than the process comes by, it lives", () => {
  assert.equal(run("push.staged:4").status, 0);
});

test("an unknown name, or one with a bad number, is refused", () => {
  for (const point of ["push.stag", "push.staged:0", "push.staged:x", "constructor"]) {
    const { status, stderr } = run(point);
    assert.notEqual(status, 0);
    assert.match(stderr, /there is no crash point/, point);
  }
});
