/**
 * Checks the import boundaries (.dependency-cruiser.cjs). It asserts that every module was seen: a checker that cannot
 * read the sources finds nothing wrong with them.
 */
import assert from "node:assert/strict";
import { globSync } from "node:fs";
import { cruise, type ICruiseResult } from "dependency-cruiser";
import extractDepcruiseOptions from "dependency-cruiser/config-utl/extract-depcruise-options";
import extractTSConfig from "dependency-cruiser/config-utl/extract-ts-config";

const roots = ["src", "test", "bench"];
process.chdir(new URL("..", import.meta.url).pathname);

const options = await extractDepcruiseOptions("./.dependency-cruiser.cjs");
const { output } = await cruise(roots, options, undefined, { tsConfig: extractTSConfig("./tsconfig.json") });
const { modules, summary } = output as ICruiseResult;

const seen = new Set(modules.map((module) => module.source));
const files = roots.flatMap((root) => globSync(`${root}/**/*.ts`));
assert.ok(files.length > 0, "there are no sources");
const unseen = files.filter((file) => !seen.has(file));
assert.deepEqual(unseen, [], "the checker did not see these files");
const edges = modules.reduce((sum, module) => sum + module.dependencies.length, 0);
assert.ok(edges > files.length, `the checker saw only ${edges} imports in ${files.length} files`);

for (const { rule, from, to } of summary.violations) console.error(`${rule.severity} ${rule.name}: ${from} -> ${to}`);
if (summary.violations.length > 0) process.exitCode = 1;
else console.log(`Import boundaries: ${files.length} modules with ${edges} imports keep them.`);
