/**
 * Memory of each gitmesh process (git's own processes apart) while a large repository is pushed and cloned.
 * Not a test: it prints figures.
 *
 *   node bench/memory.ts [--megabytes 1024] [--nodes 3]
 *
 * Starts a cluster of its own in a temporary directory, makes a repository of random blobs, pushes and clones it, and
 * reads VmRSS and VmHWM (peak) of every server from /proc. Removes everything at the end.
 */
import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    megabytes: { type: "string", default: "1024" },
    nodes: { type: "string", default: "3" },
    "port-base": { type: "string", default: "18080" },
  },
});
const megabytes = Number(values.megabytes);
const portBase = Number(values["port-base"]);
const root = join(import.meta.dirname, "..");
const directory = mkdtempSync(join(tmpdir(), "gitmesh-bench-"));
const data = join(directory, "data");
const environment = { ...process.env, GIT_TERMINAL_PROMPT: "0" };
/** Random bytes do not compress: the client shall not spend its time on trying. */
const configuration = [
  "user.name=Bench",
  "user.email=bench@localhost",
  "core.compression=0",
  "core.bigFileThreshold=1m",
].flatMap((setting) => ["-c", setting]);
const controller = `http://127.0.0.1:${portBase + 1}`;

function git(cwd: string, ...args: string[]): void {
  const run = spawnSync("git", [...configuration, ...args], {
    cwd,
    env: environment,
    encoding: "utf8",
  });
  if (run.status !== 0) throw new Error(`git ${args.join(" ")}: ${run.stderr}`);
}

async function untilReady(): Promise<void> {
  for (let attempt = 0; attempt < 300; attempt += 1) {
    const nodes = await fetch(`${controller}/api/nodes`)
      .then((answer) => answer.json() as Promise<{ state: string }[]>)
      .catch(() => []);
    if (nodes.filter((node) => node.state === "ALIVE").length === Number(values.nodes)) return;
    await sleep(100);
  }
  throw new Error("the cluster did not become ready within 30 s");
}

function memory(pid: number): { rssMb: number; peakMb: number } {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const figure = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) / 1024;
  return { rssMb: figure("VmRSS"), peakMb: figure("VmHWM") };
}

/** The servers by name, and the processes of ours below each (the one that forks git). */
function servers(): { name: string; pid: number }[] {
  const run = join(data, "run");
  const found: { name: string; pid: number }[] = [];
  for (const file of readdirSync(run).filter((name) => name.endsWith(".pid"))) {
    const pid = Number(readFileSync(join(run, file), "utf8"));
    const name = file.replace(/\.pid$/, "");
    found.push({ name, pid });
    // Its children are the other servers.
    if (name === "up") continue;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
    for (const child of children === "" ? [] : children.split(" ")) {
      const command = readFileSync(`/proc/${child}/cmdline`, "utf8");
      if (command.includes(".ts")) found.push({ name: `${name} (forks git)`, pid: Number(child) });
    }
  }
  return found.toSorted((one, other) => one.name.localeCompare(other.name));
}

const up = spawn(
  join(root, "bin/gitmesh"),
  ["up", "--nodes", values.nodes, "--data", data, "--port-base", `${portBase}`],
  {
    env: environment,
    stdio: "ignore",
  },
);
const exited = new Promise((resolve) => up.once("exit", resolve));
try {
  await untilReady();
  const source = join(directory, "source");
  mkdirSync(source);
  git(source, "init", "-q", "-b", "master");
  for (let index = 0; index < megabytes / 8; index += 1) {
    writeFileSync(join(source, `blob-${index}`), randomBytes(8 * 1024 * 1024));
  }
  git(source, "add", ".");
  git(source, "commit", "-q", "-m", `${megabytes} MB that do not compress`);
  const rows = new Map<string, string[]>();
  const note = (column: (figures: ReturnType<typeof memory>) => number): void => {
    for (const { name, pid } of servers()) {
      rows.set(name, [...(rows.get(name) ?? []), column(memory(pid)).toFixed(0)]);
    }
  };
  note((figures) => figures.rssMb);
  await fetch(`${controller}/api/repos/large`, { method: "POST" });
  let started = performance.now();
  git(source, "push", "-q", `${controller}/git/large.git`, "master");
  const pushS = (performance.now() - started) / 1000;
  note((figures) => figures.peakMb);
  started = performance.now();
  git(directory, "clone", "-q", "--bare", `${controller}/git/large.git`, "clone.git");
  const cloneS = (performance.now() - started) / 1000;
  note((figures) => figures.peakMb);
  console.log(`${megabytes} MB: push ${pushS.toFixed(1)} s, clone ${cloneS.toFixed(1)} s`);
  console.log("resident MB (aim: at most 250)".padEnd(32), "idle, peak after push, peak after clone");
  for (const [name, figures] of rows) console.log(name.padEnd(32), figures.join("   "));
} finally {
  up.kill("SIGTERM");
  await exited;
  rmSync(directory, { recursive: true, force: true });
}
