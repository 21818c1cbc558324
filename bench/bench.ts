/**
 * `npm run bench`: gitmesh against a single git server (nginx, fcgiwrap, git http-backend) on this machine, interleaved.
 * Ends with status 1 when a target is missed by more than the noise of the baseline, or a workload fails.
 *
 * Everything is on private ports and in a directory of its own, which is removed at the end; the repositories that are
 * served are kept in the temporary directory for the next run.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Cleanup } from "./cleanup.ts";
import { GitClient } from "./git-client.ts";
import { startGitmesh, type GitmeshPeer } from "./gitmesh-peer.ts";
import { LoadGenerator } from "./load.ts";
import { Measurements } from "./measurement.ts";
import { memoryMissed, memoryTable, serverName, type ServerMemory } from "./memory-report.ts";
import { startNginx } from "./nginx-peer.ts";
import { parseOptions, usage, type Options } from "./options.ts";
import type { Peer } from "./peers.ts";
import { compare, comparisonTable, megabytes, missed, table, type Comparison } from "./report.ts";
import { Repositories } from "./repositories.ts";
import { Round, Stage, type Workload } from "./workload.ts";
import { cloneWorkloads } from "./workloads/clone.ts";
import { createWorkloads } from "./workloads/create.ts";
import { fetchWorkloads } from "./workloads/fetch.ts";
import { importWorkloads } from "./workloads/import.ts";
import { pushWorkloads } from "./workloads/push.ts";
import { refWorkloads } from "./workloads/refs.ts";

const idleSeconds = 4;
const shortIdleSeconds = 2;
const loadSeconds = 2;
const shortLoadSeconds = 1;
/** The short form begins nothing more after this, so that it is over within two minutes. */
const shortBudgetMs = 100_000;
const interruptedStatus = 130;

function note(line: string): void {
  console.error(`bench: ${line}`);
}

function versions(): string {
  const first = (command: string, ...args: string[]): string => {
    const { stdout, stderr } = spawnSync(command, args, { encoding: "utf8" });
    return `${stdout}${stderr}`.split("\n")[0]?.trim() ?? "";
  };
  const nginx = first("/usr/sbin/nginx", "-v").replace("nginx version: ", "");
  return [
    `${availableParallelism()} cores (${cpus()[0]?.model ?? "unknown"}), ${megabytes(totalmem())} MB`,
    `${first("git", "--version")}, ${nginx}, Node.js ${process.versions.node}`,
    `load when it began ${loadavg()[0]?.toFixed(1)}`,
  ].join("; ");
}

/** What the trees use when nobody asks them for anything, before any workload. */
async function measureIdle(peers: readonly Peer[], short: boolean): Promise<ServerMemory[]> {
  const trees = [...new Set(peers.map(({ tree }) => tree))];
  for (const tree of trees) await tree.settle();
  const before = trees.map((tree) => tree.cpuSeconds());
  const seconds = short ? shortIdleSeconds : idleSeconds;
  await sleep(seconds * 1000);
  for (const [index, tree] of trees.entries()) tree.idleCores = (tree.cpuSeconds() - (before[index] ?? 0)) / seconds;
  const gitmesh = peers.find(({ name }) => name === "gitmesh");
  const servers = gitmesh?.tree.resident(gitmesh.serverCommands) ?? [];
  return servers.map(({ command, now }) => ({ server: serverName(command), idleBytes: now }));
}

async function runWorkload(
  workload: Workload,
  stage: Stage,
  rounds: number,
  measurements: Measurements,
  endMs: number,
): Promise<void> {
  for (const [name, of] of Object.entries(workload.serves)) await stage.serve(name, of);
  await workload.prepare?.(stage);
  const peers = stage.peers.filter(({ name }) => workload.peers?.includes(name) ?? true);
  for (let number = 0; number < Math.min(rounds, workload.roundsMax ?? rounds); number += 1) {
    if (number > 0 && performance.now() > endMs) return;
    // In alternating order, so that none is always the one after another.
    const order = number % 2 === 0 ? peers : peers.toReversed();
    for (const peer of order) await workload.round(new Round(stage, peer, number, measurements));
  }
}

async function runAll(workloads: readonly Workload[], stage: Stage, rounds: number, measurements: Measurements) {
  const failures: string[] = [];
  const endMs = stage.sizes.short ? performance.now() + shortBudgetMs : Number.POSITIVE_INFINITY;
  for (const workload of workloads) {
    const started = performance.now();
    if (started > endMs) {
      note(`${workload.name}: left out, for lack of time`);
      continue;
    }
    try {
      await runWorkload(workload, stage, rounds, measurements, endMs);
    } catch (error) {
      if (interrupted.signal.aborted) return [...failures, "interrupted"];
      failures.push(`${workload.name}: ${error instanceof Error ? error.message : String(error)}`);
      note(`FAILED: ${failures.at(-1)}`);
    }
    note(`${workload.name}: ${((performance.now() - started) / 1000).toFixed(0)} s`);
  }
  return failures;
}

async function diskTable(stage: Stage): Promise<{ text: string; bytes: Record<string, Record<string, number>> }> {
  const bytes: Record<string, Record<string, number>> = {};
  for (const name of stage.served()) {
    bytes[name] = {};
    for (const peer of stage.peers) bytes[name][peer.name] = await peer.diskBytes(name);
  }
  const rows = Object.entries(bytes).map(([name, of]) => [
    name,
    ...stage.peers.map((peer) => megabytes(of[peer.name] ?? 0)),
  ]);
  return { text: table(["repository", ...stage.peers.map(({ name }) => `${name} MB`)], rows), bytes };
}

/** The row in which a server process of gitmesh was largest. */
function highestMemory(measurements: Measurements): { readonly bytes: number; readonly row: string } {
  return measurements
    .rows()
    .map((row) => ({ row, bytes: measurements.of(row, "gitmesh")?.serverBytes ?? 0 }))
    .reduce((one, other) => (other.bytes > one.bytes ? other : one), { row: "none", bytes: 0 });
}

async function report(
  options: Options,
  workloads: readonly Workload[],
  stage: Stage,
  measurements: Measurements,
  idle: readonly ServerMemory[],
): Promise<string[]> {
  const rows = workloads.flatMap((workload) => workload.rows);
  const comparisons: Comparison[] = compare(rows, (row, peer) => measurements.of(row, peer));
  const highest = highestMemory(measurements);
  const disk = interrupted.signal.aborted ? undefined : await diskTable(stage);
  const trees = [...new Map(stage.peers.map(({ tree, name }) => [tree, name === "gitmesh" ? name : "nginx"]))];
  const idleCores = trees.map(([tree, name]) => `${name} ${(tree.idleCores * 100).toFixed(1)} %`).join(", ");
  const exact = trees.every(([tree]) => tree.exact);
  const machine = versions();
  console.log(`\n${machine}\n`);
  console.log(comparisonTable(comparisons));
  console.log("\nMedians. CPU: of the server's whole process tree, for one operation; peak MB: its private memory.");
  console.log(`CPU was read from ${exact ? "cgroups" : "/proc"}. Of a core, idle: ${idleCores}.\n`);
  console.log(memoryTable(idle, highest.bytes, highest.row));
  if (disk !== undefined) console.log(`\nOn disk, at the end (gitmesh: three copies):\n\n${disk.text}`);
  if (options.json !== undefined) {
    const samples = Object.fromEntries(
      measurements
        .rows()
        .map((row) => [row, Object.fromEntries(stage.peers.map(({ name }) => [name, measurements.of(row, name)]))]),
    );
    const all = { machine, options, comparisons, idle, highest, disk: disk?.bytes, samples };
    writeFileSync(options.json, `${JSON.stringify(all, undefined, 1)}\n`);
  }
  return [...missed(comparisons), ...memoryMissed(idle, highest.bytes)];
}

async function bench(options: Options): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), "gitmesh-bench-"));
  cleanup.add("removing the directory", () => rmSync(directory, { recursive: true, force: true, maxRetries: 3 }));
  const home = join(directory, "home");
  mkdirSync(home);
  const client = new GitClient(home);
  const repositories = new Repositories(client, note);
  const given = [];
  for (const where of options.repo) given.push(await repositories.given(where));
  const all = [
    ...refWorkloads(),
    ...fetchWorkloads(),
    ...cloneWorkloads(given),
    ...pushWorkloads(),
    ...importWorkloads(given),
    ...createWorkloads(),
  ];
  const workloads = all
    .filter(({ short }) => short || !options.short)
    .filter(({ name }) => options.only.length === 0 || options.only.some((part) => name.includes(part)));
  if (options.list) {
    console.log(workloads.map(({ name }) => name).join("\n"));
    return 0;
  }
  if (workloads.length === 0) throw new Error("no workload has such a name; --list has the names");
  const gitmesh: GitmeshPeer = await startGitmesh(join(directory, "gitmesh"), client, cleanup);
  const peers: Peer[] = [gitmesh, ...(await startNginx(join(directory, "nginx"), client, cleanup))];
  const generator = new LoadGenerator();
  cleanup.add("the load generator", () => generator.stop());
  cleanup.add("the clients", () => client.stop());
  interrupted.signal.addEventListener("abort", () => {
    generator.stop();
    client.stop();
  });
  interrupted.signal.throwIfAborted();
  const idle = await measureIdle(peers, options.short);
  const measurements = new Measurements([...new Set(peers.map(({ tree }) => tree))]);
  const sizes = { short: options.short, loadSeconds: options.short ? shortLoadSeconds : loadSeconds };
  const stage = new Stage({ client, generator, repositories, peers, sizes }, join(directory, "clients"));
  const failures = await runAll(workloads, stage, options.rounds, measurements);
  const targets = await report(options, workloads, stage, measurements, idle);
  for (const failure of failures) console.log(`\nFailed: ${failure}`);
  if (targets.length > 0) console.log(`\nTargets missed by more than the noise:\n  ${targets.join("\n  ")}`);
  return failures.length > 0 || (targets.length > 0 && !options.short) ? 1 : 0;
}

/** Aborted by the first signal: what was measured until then is printed. After a second one nothing is waited for. */
const interrupted = new AbortController();
/** The terminal and npm may both send the first. */
const sameSignalMs = 500;
const cleanup = new Cleanup();
let firstSignalMs = 0;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    if (!interrupted.signal.aborted) {
      note("stopping ...");
      firstSignalMs = performance.now();
      interrupted.abort();
    } else if (performance.now() - firstSignalMs > sameSignalMs) {
      void cleanup.run().then(() => process.exit(interruptedStatus));
    }
  });
}
try {
  const options = parseOptions(process.argv.slice(2));
  if (options.help) console.log(usage);
  else process.exitCode = await bench(options);
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
} finally {
  await cleanup.run();
  if (interrupted.signal.aborted) process.exitCode = interruptedStatus;
}
