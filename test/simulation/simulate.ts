/**
 * `npm run simulate`: seeds of the simulation.
 *
 *   npm run simulate -- --seed 7              one seed, exactly as it always is
 *   npm run simulate -- --seed 7 --trace      with everything that happens
 *   npm run simulate -- --seeds 100000        seeds 1 to 100,000, on every core
 *   npm run simulate -- --seeds 5000 --from 1000001 --workers 1
 */
import { fork, type ChildProcess } from "node:child_process";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { SimulatedDatabase } from "./database.ts";
import { runSeed, type SeedResult } from "./run-seed.ts";

/** Seeds that a worker is given at a time. */
const batchSeeds = 100;
const reportMs = 30_000;
const shownMax = 20;

interface Totals {
  seeds: number;
  simulatedMs: number;
  slowestSettledMs: number;
  readonly counts: Map<string, number>;
  readonly faults: Map<string, number>;
  readonly violating: { readonly seed: number; readonly violations: readonly string[] }[];
}

/** What a worker sends back for its batch. */
interface BatchMessage {
  readonly seeds: number;
  readonly simulatedMs: number;
  readonly slowestSettledMs: number;
  readonly counts: readonly [string, number][];
  readonly faults: readonly [string, number][];
  readonly violating: Totals["violating"];
}

function newTotals(): Totals {
  return { seeds: 0, simulatedMs: 0, slowestSettledMs: 0, counts: new Map(), faults: new Map(), violating: [] };
}

function add(totals: Totals, part: BatchMessage): void {
  totals.seeds += part.seeds;
  totals.simulatedMs += part.simulatedMs;
  totals.slowestSettledMs = Math.max(totals.slowestSettledMs, part.slowestSettledMs);
  for (const [name, count] of part.counts) totals.counts.set(name, (totals.counts.get(name) ?? 0) + count);
  for (const [name, count] of part.faults) totals.faults.set(name, (totals.faults.get(name) ?? 0) + count);
  totals.violating.push(...part.violating);
}

function partOf(result: SeedResult): BatchMessage {
  const { seed, violations, simulatedMs, settledMs, counts, faults } = result;
  return {
    seeds: 1,
    simulatedMs,
    slowestSettledMs: settledMs,
    counts: Object.entries(counts),
    faults: [...faults],
    violating: violations.length > 0 ? [{ seed, violations }] : [],
  };
}

async function runBatch(database: SimulatedDatabase, from: number, to: number): Promise<Totals> {
  const totals = newTotals();
  for (let seed = from; seed < to; seed += 1) add(totals, partOf(await runSeed(seed, database, { hashed: false })));
  return totals;
}

/** A worker: runs the batches that it is sent until its parent is gone. */
async function work(): Promise<void> {
  // Nobody looks at them, and they cost much.
  Error.stackTraceLimit = 0;
  const database = await SimulatedDatabase.open();
  process.on("disconnect", () => process.exit(0));
  process.on("message", (message: { readonly from: number; readonly to: number }) => {
    void runBatch(database, message.from, message.to).then((totals) => {
      process.send?.({ ...totals, counts: [...totals.counts], faults: [...totals.faults] } satisfies BatchMessage);
    });
  });
  process.send?.("ready");
}

async function runMany(from: number, count: number, workers: number): Promise<Totals> {
  const totals = newTotals();
  const startMs = performance.now();
  let next = from;
  const end = from + count;
  let reportedMs = startMs;
  await Promise.all(
    Array.from({ length: workers }, async () => {
      const child = fork(import.meta.filename, ["--worker"]);
      await new Promise<void>((resolve, reject) => {
        child.on("error", reject);
        child.on("exit", (code) => reject(new Error(`a worker ended with ${code}`)));
        child.on("message", (message: BatchMessage | "ready") => {
          if (message !== "ready") {
            add(totals, message);
            for (const { seed, violations } of message.violating) say(`seed ${seed}: ${violations.join("\n    ")}`);
          }
          if (performance.now() - reportedMs > reportMs) {
            reportedMs = performance.now();
            say(`${totals.seeds} seeds, ${rate(totals.seeds, startMs)} a second, ${totals.violating.length} violating`);
          }
          if (next >= end) {
            stopWorker(child);
            resolve();
            return;
          }
          const to = Math.min(end, next + batchSeeds);
          child.send({ from: next, to });
          next = to;
        });
      });
    }),
  );
  say(
    `${totals.seeds} seeds from ${from} in ${((performance.now() - startMs) / 1000).toFixed(0)} s, ${rate(totals.seeds, startMs)} a second`,
  );
  return totals;
}

function stopWorker(child: ChildProcess): void {
  child.removeAllListeners("exit");
  child.disconnect();
}

function rate(seeds: number, startMs: number): string {
  return (seeds / ((performance.now() - startMs) / 1000)).toFixed(1);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seed: { type: "string" },
      seeds: { type: "string" },
      from: { type: "string", default: "1" },
      workers: { type: "string", default: String(availableParallelism()) },
      trace: { type: "boolean", default: false },
      worker: { type: "boolean", default: false },
    },
  });
  if (values.worker) {
    await work();
    return;
  }
  if (values.seed !== undefined) {
    const onLine = values.trace ? say : undefined;
    const result = await runSeed(Number(values.seed), await SimulatedDatabase.open(), { hashed: true, onLine });
    say(JSON.stringify({ ...result, faults: Object.fromEntries(result.faults) }, undefined, 2));
    process.exitCode = result.violations.length > 0 ? 1 : 0;
    return;
  }
  const totals = await runMany(Number(values.from), Number(values.seeds ?? 1000), Number(values.workers));
  say(
    `simulated ${(totals.simulatedMs / 3_600_000).toFixed(1)} h; slowest healing ${(totals.slowestSettledMs / 1000).toFixed(1)} s`,
  );
  say(`ref changes and looks: ${textOf(totals.counts)}`);
  say(`faults: ${textOf(totals.faults)}`);
  say(`violating seeds: ${totals.violating.length === 0 ? "none" : totals.violating.length}`);
  for (const { seed, violations } of totals.violating.slice(0, shownMax))
    say(`  --seed ${seed}: ${violations[0] ?? ""}`);
  process.exitCode = totals.violating.length > 0 ? 1 : 0;
}

function textOf(counts: ReadonlyMap<string, number>): string {
  return [...counts].map(([name, count]) => `${count} ${name}`).join(", ");
}

await main();
