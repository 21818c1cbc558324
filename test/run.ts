/**
 * `npm test`: every test, or the files named (`npm test -- test/e2e/walkthrough.test.ts`).
 *
 * A line a file and each failure in full; at the end which checks were left out and why, the failures again by name, and
 * the runner's own closing lines. With GITMESH_TEST_ALL=1 a check that is left out is a failure.
 */
import { globSync } from "node:fs";
import { basename, join, relative, resolve } from "node:path";
import { run } from "node:test";
import { inspect } from "node:util";

const root = join(import.meta.dirname, "..");
/** Two cores; end-to-end tests are processes that mostly wait for each other. */
const filesAtOnce = 2;
const fileTimeoutMs = 15 * 60_000;
/** Those that take long begin first, so that none of them is left running alone at the end. */
const longest = [
  "chaos",
  "history",
  "two-controllers-mariadb",
  "two-controllers-postgresql",
  "git-push",
  "node-failure",
];

const everything = process.env["GITMESH_TEST_ALL"] === "1";
const named = process.argv.slice(2);
const files = named.length > 0 ? named.map((file) => resolve(file)) : allFiles();
const leftOut: string[] = [];
const failures: string[] = [];

if (files.length === 0) throw new Error("there are no tests");
const tests = run({ files, concurrency: filesAtOnce, timeout: fileTimeoutMs, cwd: root });
tests.on("test:pass", ({ name, skip, file }) => {
  if (skip === undefined || skip === false) return;
  leftOut.push(`${placeOf(file)}: ${name}${typeof skip === "string" && skip !== "" ? `: ${skip}` : ""}`);
});
tests.on("test:fail", ({ name, file, line, details, todo }) => {
  const { error } = details;
  if (todo !== undefined || failureTypeOf(error) === "subtestsFailed") return;
  const place = `${placeOf(file)}${line === undefined ? "" : `:${line}`}`;
  failures.push(`${place}: ${name}`);
  say(`\n✖ ${place}: ${name}\n${inspect(error.cause ?? error).replaceAll(/^/gm, "    ")}\n`);
});
tests.on("test:stderr", ({ message }) => process.stderr.write(message));
tests.on("test:summary", ({ file, counts, duration_ms: durationMs, success }) => {
  if (file !== undefined) {
    const seconds = (durationMs / 1000).toFixed(1);
    say(`${success ? "✔" : "✖"} ${placeOf(file)} (${counts.passed} of ${counts.tests}, ${seconds} s)`);
    return;
  }
  if (leftOut.length > 0) say(`\nLeft out on this machine:\n${leftOut.map((line) => `  ${line}`).join("\n")}`);
  if (failures.length > 0) say(`\nFailed:\n${failures.map((line) => `  ✖ ${line}`).join("\n")}`);
  if (everything && leftOut.length > 0) say("\nGITMESH_TEST_ALL is set: nothing may be left out.");
  const passed = success && counts.tests > 0 && failures.length === 0 && !(everything && leftOut.length > 0);
  process.exitCode = passed ? 0 : 1;
  say(`
ℹ tests ${counts.tests}
ℹ suites ${counts.suites}
ℹ pass ${counts.passed}
ℹ fail ${counts.tests - counts.passed - counts.cancelled - counts.skipped - counts.todo}
ℹ cancelled ${counts.cancelled}
ℹ skipped ${counts.skipped}
ℹ todo ${counts.todo}
ℹ duration_ms ${durationMs}`);
});
// Without a summary there was no end.
process.exitCode = 1;
tests.resume();

function allFiles(): string[] {
  const patterns = ["test/**/*.test.ts", "src/**/*.test.ts", "bench/**/*.test.ts", "console/src/**/*.test.ts"];
  const found = patterns.flatMap((pattern) => globSync(pattern, { cwd: root }).toSorted());
  const rank = (file: string): number => {
    const index = longest.indexOf(basename(file, ".test.ts"));
    return index < 0 ? longest.length : index;
  };
  return found.toSorted((one, other) => rank(one) - rank(other)).map((file) => join(root, file));
}

function failureTypeOf(error: Error): string {
  return "failureType" in error && typeof error.failureType === "string" ? error.failureType : "";
}

function placeOf(file: string | undefined): string {
  return file === undefined ? "" : relative(root, file);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
