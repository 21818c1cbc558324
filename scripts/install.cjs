// Installs what `npm start` and `npm test` need, when it is missing or the lock file has changed.
// Runs on whatever Node.js the machine has (12 or newer) and needs no package: it is what brings them.
"use strict";
const { spawnSync } = require("node:child_process");
const { createHash } = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");

const root = path.join(__dirname, "..");
const production = process.argv.includes("--production");
const stampFile = path.join(root, "node_modules", ".gitmesh-installed.json");
const lockHash = createHash("sha256")
  .update(fs.readFileSync(path.join(root, "package-lock.json")))
  .digest("hex");

function installed() {
  try {
    const stamp = JSON.parse(fs.readFileSync(stampFile, "utf8"));
    return stamp.lockHash === lockHash && (production || !stamp.production);
  } catch {
    return false;
  }
}

if (!installed()) {
  console.log("Installing packages (once; a minute at most) ...");
  const args = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
  if (production) args.push("--omit=dev");
  const run = spawnSync("npm", args, { cwd: root, stdio: "inherit", env: { ...process.env, NODE_ENV: "" } });
  if (run.error || run.status !== 0) {
    console.error(`npm ${args.join(" ")} failed${run.error ? `: ${run.error.message}` : ""}; see the lines above.`);
    process.exit(1);
  }
  fs.writeFileSync(stampFile, JSON.stringify({ lockHash, production }));
}

// The console's pages, when they are missing or older than their sources: with the Node.js that was just installed.
const ownNode = path.join(root, "node_modules", ".bin", "node");
const node = fs.existsSync(ownNode) ? ownNode : process.execPath;
const build = spawnSync(node, [path.join(root, "console", "build.ts")], { stdio: "inherit" });
if (build.status !== 0) {
  console.error("The console's pages could not be built; see the lines above.");
  process.exit(1);
}
