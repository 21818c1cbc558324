/**
 * `npm test`: every test, or the files named (`npm test -- test/e2e/walkthrough.test.ts`).
 *
 * Prints at the end which checks were left out and why, and the runner's own closing lines. With GITMESH_TEST_ALL=1
 * a check that is left out is a failure.
 */
import { globSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { run } from "node:test";
import { spec } from "node:test/reporters";

const root = join(import.meta.dirname, "..");
/** Two cores; end-to-end tests are processes that mostly wait for each other. */
const filesAtOnce = 2;
const fileTimeoutMs = 15 * 60_000;

const named = process.argv.slice(2).map((file) => resolve(file));
const files =
  named.length > 0
    ? named
    : ["src/**/*.test.ts", "test/*.test.ts", "test/e2e/**/*.test.ts"].flatMap((pattern) =>
        globSync(pattern, { cwd: root })
          .toSorted()
          .map((file) => join(root, file)),
      );
const leftOut: string[] = [];
let failed = false;

const tests = run({ files, concurrency: filesAtOnce, timeout: fileTimeoutMs, cwd: root });
tests.on("test:pass", ({ name, skip, file }) => {
  if (skip === undefined || skip === false) return;
  leftOut.push(`${relative(root, file ?? "")}: ${name}${typeof skip === "string" ? `: ${skip}` : ""}`);
});
tests.on("test:fail", () => {
  failed = true;
});
tests.once("test:summary", () => {
  if (files.length === 0) failed = true;
});
tests.on("end", () => {
  if (leftOut.length > 0)
    process.stdout.write(`\nLeft out on this machine:\n${leftOut.map((line) => `  ${line}\n`).join("")}`);
  if (leftOut.length > 0 && process.env["GITMESH_TEST_ALL"] === "1") failed = true;
  process.exitCode = failed ? 1 : 0;
});
tests.compose(new spec()).pipe(process.stdout);
