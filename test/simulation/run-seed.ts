/** One seed: a cluster, its clients and its faults, then healing, then what must be true in the end. */
import { Client } from "./client.ts";
import { Cluster } from "./cluster.ts";
import type { SimulatedDatabase } from "./database.ts";
import { Nemesis } from "./nemesis.ts";
import { planOf, type FaultKind, type Plan } from "./plan.ts";
import { Process } from "./process.ts";
import { Random } from "./random.ts";
import { Simulation, type TraceOptions } from "./simulation.ts";

export interface SeedResult {
  readonly seed: number;
  readonly violations: readonly string[];
  /** Of the trace, when it was asked for. */
  readonly traceHash: string;
  readonly simulatedMs: number;
  /** From healing until every replica was READY and up to date, ms. */
  readonly settledMs: number;
  /** Ref changes by what was told about them, reads, commits looked at. */
  readonly counts: Readonly<Record<string, number>>;
  readonly faults: ReadonlyMap<FaultKind, number>;
}

/** Backing off takes up to a minute. */
const settleMsMax = 180_000;
const startMsMax = 30_000;

/** Longer than a controller waits for a statement that hangs, and after that holds a failure against a node. */
const afterwardsMs = 12_000;

/** What nobody waited for and failed: a bug wherever it comes from. */
let onUnhandled: ((reason: unknown) => void) | undefined;
process.on("unhandledRejection", (reason) => {
  if (onUnhandled === undefined) throw reason as Error;
  onUnhandled(reason);
});

/** `adjust` changes the plan, to look into one corner. */
export async function runSeed(
  seed: number,
  database: SimulatedDatabase,
  trace: TraceOptions,
  adjust: (plan: Plan) => Plan = (plan) => plan,
): Promise<SeedResult> {
  database.empty();
  const random = new Random(seed);
  const plan = adjust(planOf(random.fork()));
  const sim = new Simulation(trace);
  sim.trace(`seed ${seed}: ${JSON.stringify(plan)}`);
  const cluster = new Cluster(sim, database, plan, random.fork());
  const { invariants, history } = cluster;
  onUnhandled = (reason) =>
    invariants.violated(`unhandled rejection: ${reason instanceof Error ? reason.stack : String(reason)}`);
  for (const place of cluster.controllers) cluster.startController(place);
  for (const node of cluster.nodes) cluster.startNode(node);

  const names: string[] = [];
  const clientRandom = random.fork();
  const clients = Array.from({ length: plan.clients }, (_, index) => {
    const process = new Process(`client-${index + 1}`, sim);
    process.start();
    const { network, objects, controllers } = cluster;
    const { thinkMs, administration, replicaCounts } = plan;
    const shared = { network, objects, history, invariants, controllers, names };
    return new Client({ ...shared, process, random: clientRandom.fork(), thinkMs, administration, replicaCounts });
  });

  await createRepositories(cluster, plan.repositories, names);
  Object.assign(cluster.network.faults, plan.network);
  const nemesis = new Nemesis(cluster, random.fork());
  nemesis.start();
  let working = clients.length;
  for (const client of clients) {
    void client.run().then(() => {
      working -= 1;
    });
  }
  await sim.run(sim.nowMs + plan.durationMs);
  nemesis.stop();
  cluster.heal();
  sim.trace("healed");
  const healedMs = sim.nowMs;
  for (const client of clients) client.stop();
  const settledMs = await settle(cluster, () => working === 0, healedMs);
  if (settledMs !== undefined) await readAndPush(cluster, clients[0], clients[1]);
  invariants.look();
  for (const violation of history.violations()) invariants.violated(violation);
  onUnhandled = undefined;
  const counts = { ...history.counts, looks: invariants.looks, completeReplicas: invariants.completeReplicas };
  return {
    seed,
    violations: invariants.violations,
    traceHash: sim.traceHash(),
    simulatedMs: sim.nowMs,
    settledMs: settledMs ?? Infinity,
    counts,
    faults: nemesis.counts,
  };
}

async function createRepositories(cluster: Cluster, count: number, names: string[]): Promise<void> {
  const { sim, plan, controllers, invariants } = cluster;
  await sim.run(1000);
  const [place] = controllers;
  void (async () => {
    while (names.length < count) {
      const name = `repository-${names.length + 1}`;
      try {
        await place?.controller?.create(name, plan.replicas);
        names.push(name);
      } catch {
        // The nodes are not all registered yet.
        await place?.process.pauseFor(200);
      }
    }
  })();
  await sim.run(startMsMax, () => names.length === count);
  if (names.length < count) invariants.violated("the repositories could not be created");
}

/** Time until nothing is left to be mended; undefined, and a violation, when it takes too long. */
async function settle(cluster: Cluster, clientsAreDone: () => boolean, healedMs: number): Promise<number | undefined> {
  const { sim, invariants } = cluster;
  await sim.run(healedMs + settleMsMax, clientsAreDone);
  if (!clientsAreDone()) invariants.violated("a client got neither an answer nor a timeout");
  let reason = cluster.unsettled();
  while (reason !== undefined && sim.nowMs < healedMs + settleMsMax) {
    const seen = invariants.looks;
    await sim.run(Math.min(sim.nowMs + 5000, healedMs + settleMsMax), () => invariants.looks > seen);
    await sim.run(sim.nowMs + 100);
    reason = cluster.unsettled();
  }
  if (reason === undefined) return sim.nowMs - healedMs;
  invariants.violated(`not healed after ${settleMsMax / 1000} s: ${reason}`);
  return undefined;
}

/** What was acknowledged must be there to be read, and the next push must be taken. */
async function readAndPush(cluster: Cluster, reader: Client | undefined, writer: Client | undefined): Promise<void> {
  const { sim, invariants } = cluster;
  for (const { name } of invariants.committed()) {
    const eventually = async (what: string, attempt: () => Promise<boolean> | undefined): Promise<void> => {
      const endMs = sim.nowMs + afterwardsMs;
      while ((await attempt()) !== true) {
        if (sim.nowMs > endMs) {
          invariants.violated(`${name} ${what} in the end`);
          return;
        }
        await writer?.pause(1000);
      }
    };
    let done = false;
    void (async () => {
      for (const client of [reader, writer]) await eventually("cannot be read", () => client?.read(name));
      await eventually("takes no push", () => writer?.write(name));
      await eventually("cannot be read", () => reader?.read(name));
      done = true;
    })();
    await sim.run(sim.nowMs + 4 * afterwardsMs, () => done);
    if (!done) invariants.violated(`${name} does not answer in the end`);
  }
}
