// Checks the import boundaries, and that the check saw the modules at all.
"use strict";
const { spawnSync } = require("node:child_process");
const { readdirSync } = require("node:fs");
const path = require("node:path");

const root = path.join(__dirname, "..");
const sources = readdirSync(path.join(root, "src"), { recursive: true }).filter((name) => name.endsWith(".ts")).length;
const run = spawnSync(path.join(root, "node_modules/.bin/depcruise"), ["src", "test", "--output-type", "json"], {
  cwd: root,
  encoding: "utf8",
  maxBuffer: 1e9,
});
const result = JSON.parse(run.stdout || "{}");
const seen = (result.modules ?? []).filter((module) => module.source.startsWith("src/"));
const imports = seen.reduce(
  (sum, module) => sum + module.dependencies.filter((found) => found.resolved.startsWith("src/")).length,
  0,
);
for (const { rule, from, to } of result.summary?.violations ?? []) console.error(`${rule.name}: ${from} -> ${to}`);
console.log(`boundaries: ${seen.length} of ${sources} modules, ${imports} imports among them`);
const blind = seen.length !== sources || imports < sources;
if (blind) console.error("the check did not see every module and its imports");
if (run.stderr) console.error(run.stderr);
process.exit(blind || (result.summary?.violations ?? [{}]).length > 0 ? 1 : 0);
