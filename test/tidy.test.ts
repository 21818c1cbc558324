/** The house rules that a machine can see. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { errorsPage, settingsPage } from "../scripts/write-docs.ts";

const root = join(import.meta.dirname, "..");
/** The formatter keeps to 120 what it can break; this is for strings and comments. */
const lineCharactersMax = 140;
const fileLinesMax = 400;

function filesBelow(...folders: string[]): { path: string; lines: string[] }[] {
  return folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts") && statSync(join(root, folder, name)).isFile())
      .map((name) => ({ path: join(folder, name), lines: readFileSync(join(root, folder, name), "utf8").split("\n") })),
  );
}

const sources = filesBelow("src", "test", "bench", "scripts");

test("the rules see the files", () => {
  assert.ok(sources.length > 100);
});

test("no line is wider than the house", () => {
  // Tests quote command lines, which a break would spoil.
  const ours = sources.filter(({ path }) => path.startsWith("src/") && !path.endsWith(".test.ts"));
  const wide = ours.flatMap(({ path, lines }) =>
    lines.flatMap((line, index) => (line.length > lineCharactersMax ? [`${path}:${index + 1}`] : [])),
  );
  assert.deepEqual(wide, []);
});

test("no source file is a house of its own", () => {
  const large = sources.filter(
    ({ path, lines }) =>
      path.startsWith("src/") && !/\.test\.ts$|\/testing\//.test(path) && lines.length > fileLinesMax,
  );
  assert.deepEqual(
    large.map(({ path }) => path),
    [],
  );
});

test("nothing is left for later", () => {
  const marks = /TOD[O]|FIXM[E]|XX[X]:/;
  const later = sources.flatMap(({ path, lines }) =>
    lines.flatMap((line, index) => (marks.test(line) ? [`${path}:${index + 1}`] : [])),
  );
  assert.deepEqual(later, []);
});

test("each lint suppression says why", () => {
  const bare = sources.flatMap(({ path, lines }) =>
    lines.flatMap((line, index) => (/oxlint-disable(?!.* -- .{10})/.test(line) ? [`${path}:${index + 1}`] : [])),
  );
  assert.deepEqual(
    bare.filter((place) => !place.startsWith("test/tidy")),
    [],
  );
});

test("each module opens with what it is", () => {
  const silent = sources
    .filter(({ path }) => path.startsWith("src/") && !path.endsWith(".test.ts"))
    .filter(({ lines }) => !(lines[0] ?? "").startsWith("/**"));
  assert.deepEqual(
    silent.map(({ path }) => path),
    [],
  );
});

test("docs/settings.md and docs/errors.md are what the program says (npm run docs)", () => {
  assert.equal(readFileSync(join(root, "docs/settings.md"), "utf8"), settingsPage());
  assert.equal(readFileSync(join(root, "docs/errors.md"), "utf8"), errorsPage());
});

test("dependencies have exact versions and a reason, and the lock file names no host", () => {
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Record<
    string,
    Record<string, string>
  >;
  const reasons = readFileSync(join(root, "docs/dependencies.md"), "utf8");
  const dependencies = ["dependencies", "devDependencies", "optionalDependencies"].flatMap((kind) =>
    Object.entries(manifest[kind] ?? {}),
  );
  assert.ok(dependencies.length > 10);
  for (const [name, version] of dependencies) {
    assert.match(version, /^\d+\.\d+\.\d+$/, name);
    if (!name.startsWith("@types/"))
      assert.ok(reasons.includes(`\`${name}\``), `${name} has no reason in docs/dependencies.md`);
  }
  assert.doesNotMatch(readFileSync(join(root, "package-lock.json"), "utf8"), /"resolved": "http/);
});
