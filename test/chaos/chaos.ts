/**
 * `npm run chaos -- --minutes M --seed N [--database mariadb|postgresql] [--faults KIND,KIND]`: a cluster of real
 * processes with everything going wrong, then a check of everything. As root, on Linux. Status 1 when anything is violated.
 */
import { spawn } from "node:child_process";
import { parseArgs } from "node:util";
import { exitOf } from "../support/processes.ts";
import { missingForChaos } from "./requirements.ts";
import { faultKinds, runChaos } from "./run.ts";
import { run } from "./servers.ts";

const inside = "GITMESH_CHAOS_INSIDE";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "1" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 1_000_000)) },
    database: { type: "string", default: "mariadb" },
    faults: { type: "string", default: "" },
  },
});
const minutes = Number(values.minutes);
const seed = Number(values.seed);
const faults = values.faults.split(",").filter((kind) => kind !== "");
const mistakes = [
  ...(minutes > 0 ? [] : ["--minutes is a number above 0"]),
  ...(Number.isSafeInteger(seed) ? [] : ["--seed is a whole number"]),
  ...(["mariadb", "postgresql"].includes(values.database) ? [] : ["--database is mariadb or postgresql"]),
  ...faults
    .filter((kind) => !faultKinds.includes(kind))
    .map((kind) => `--faults: ${kind} is none of ${faultKinds.join(", ")}`),
  ...missingForChaos().map((what) => `needs ${what}`),
];
if (mistakes.length > 0) {
  process.stderr.write(`${mistakes.join("\n")}\n`);
  process.exit(2);
}

if (process.env[inside] === undefined) {
  // Mounts of its own: whatever happens, none is left behind.
  const command = [
    "--mount",
    "--propagation",
    "private",
    process.execPath,
    import.meta.filename,
    ...process.argv.slice(2),
  ];
  // The seed that was drawn above is the one that is used.
  const child = spawn("unshare", [...command, "--seed", String(seed)], {
    stdio: "inherit",
    env: { ...process.env, [inside]: "1" },
  });
  const { code } = await exitOf(child);
  process.exit(code ?? 1);
}
// faketime keeps shared memory that kill -9 would leave behind.
run("mount", "-t", "tmpfs", "tmpfs", "/dev/shm");
const passed = await runChaos({
  minutes,
  seed,
  database: values.database === "mariadb" ? "mariadb" : "postgres",
  faults,
});
process.exit(passed ? 0 : 1);
