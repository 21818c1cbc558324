/** A short run of chaos, as `npm run chaos` does a long one. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { availableEngines } from "../support/databases.ts";
import { exitOf } from "../support/processes.ts";
import { needs } from "../support/requirement.ts";
import { within } from "../support/wait.ts";
import { missingForChaos } from "./requirements.ts";

const minutes = 1.2;
const seed = 1;
const limitMs = 12 * 60_000;
const kindsLeast = 3;

const missing = [...missingForChaos(), ...(availableEngines().includes("mariadb") ? [] : ["MariaDB"])];

test(
  "a minute of chaos: nothing is lost, nothing diverges, all is READY within a minute of healing",
  needs(missing.join(", "), missing.length === 0),
  async () => {
    const args = [join(import.meta.dirname, "chaos.ts"), "--minutes", String(minutes), "--seed", String(seed)];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => (said += text));
    const { code } = await within(limitMs, "the run", exitOf(child));
    assert.equal(code, 0, said);
    // A run in which nothing happened would pass as well.
    assert.match(said, /acknowledged pushes looked for +[1-9]/);
    const done = [...said.matchAll(/^ {2}(\S+) +[1-9]\d*(?: \(|$)/gm)].map(([, kind]) => kind);
    assert.ok(done.length >= kindsLeast, `only ${done.join(", ")}`);
  },
);
