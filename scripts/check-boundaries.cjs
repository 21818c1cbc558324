// Checks the import boundaries, and that the check saw the modules at all.
"use strict";
const { spawnSync } = require("node:child_process");
const { readdirSync } = require("node:fs");
const path = require("node:path");

const root = path.join(__dirname, "..");
const folders = ["src", "console/src"];
const run = spawnSync(path.join(root, "node_modules/.bin/depcruise"), [...folders, "test", "--output-type", "json"], {
  cwd: root,
  encoding: "utf8",
  maxBuffer: 1e9,
});
const result = JSON.parse(run.stdout || "{}");
for (const { rule, from, to } of result.summary?.violations ?? []) console.error(`${rule.name}: ${from} -> ${to}`);
const blind = folders.filter((folder) => !isSeen(folder));
if (blind.length > 0) console.error(`the check did not see every module of ${blind.join(", ")} and its imports`);
if (run.stderr) console.error(run.stderr);
process.exit(blind.length > 0 || (result.summary?.violations ?? [{}]).length > 0 ? 1 : 0);

/** Whether each module of a folder was looked at, and more imports than modules were found. */
function isSeen(folder) {
  const files = readdirSync(path.join(root, folder), { recursive: true });
  const sources = files.filter((name) => /(?<!\.d)\.(?:ts|vue)$/.test(name)).length;
  const inside = ({ source }) =>
    source.startsWith(`${folder}/`) && !source.endsWith(".d.ts") && !source.endsWith(".css");
  const seen = (result.modules ?? []).filter(inside);
  const imports = seen.reduce(
    (sum, module) => sum + module.dependencies.filter((found) => found.resolved.startsWith(`${folder}/`)).length,
    0,
  );
  console.log(`boundaries: ${folder}: ${seen.length} of ${sources} modules, ${imports} imports among them`);
  return seen.length === sources && imports >= sources;
}
