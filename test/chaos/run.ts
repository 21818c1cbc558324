/** One run of chaos: a cluster, clients, a nemesis; then all is healed and everything is checked. */
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startDatabase, type ServerEngine, type TestDatabase } from "../support/databases.ts";
import { freePorts } from "../support/ports.ts";
import { processesIn } from "../support/processes.ts";
import { numbered } from "../support/servers.ts";
import { Terminal } from "../support/terminal.ts";
import { waitFor } from "../support/wait.ts";
import { checkCluster, logTrouble } from "./checks.ts";
import { diskFaults } from "./disk-faults.ts";
import { GitClient } from "./git-client.ts";
import { History } from "./history.ts";
import { Nemesis, type Fault } from "./nemesis.ts";
import { networkFaults } from "./network-faults.ts";
import { Network } from "./network.ts";
import { processFaults } from "./process-faults.ts";
import { Random } from "./random.ts";
import { Replicas } from "./replicas.ts";
import { summary, type Findings } from "./summary.ts";
import { ChaosServers, run } from "./servers.ts";
import { Workload } from "./workload.ts";

export interface ChaosOptions {
  readonly minutes: number;
  readonly seed: number;
  readonly database: ServerEngine;
  /** Kinds; all when it is empty. */
  readonly faults: readonly string[];
}

const controllers = numbered("controller", 2);
const nodes = numbered("node", 4);
const replicasWanted = 3;
const diskBytes = 1024 * 1024 * 1024;
const startLimitMs = 120_000;
const healLimitMs = 60_000;
/** What takes minutes or days by default comes often in a run; the rest is as everybody has it. */
const settings = {
  GITMESH_REPLICAS: String(replicasWanted),
  GITMESH_REPAIR_GRACE_MS: "8000",
  GITMESH_SCRUB_INTERVAL_MS: "60000",
  // However slow the machine is.
  GITMESH_SCRUB_SHARE: "1",
  GITMESH_ASIDE_KEEP_MS: "90000",
  GITMESH_DELETED_KEEP_MS: "90000",
};

export const faultKinds: readonly string[] = [...processFaults, ...networkFaults, ...diskFaults].map(
  ({ kind }) => kind,
);

/** True when nothing was violated. To be run in a mount namespace of its own. */
export async function runChaos(options: ChaosOptions): Promise<boolean> {
  const directory = mkdtempSync(join(tmpdir(), "gitmesh-chaos-"));
  const violations: string[] = [];
  const violate = (detail: string): void => {
    violations.push(detail);
    appendFileSync(join(directory, "violations"), `${new Date().toISOString()} ${detail}\n`);
  };
  process.stdout.write(
    `chaos: seed ${options.seed}, ${options.minutes} minutes, ${options.database}, in ${directory}\n`,
  );
  const chaos = new Chaos(options, directory, violate);
  let findings: Findings | undefined;
  try {
    findings = await chaos.run();
  } catch (error) {
    violate(`the run broke off: ${error instanceof Error ? (error.stack ?? "") : String(error)}`);
  }
  const passed = violations.length === 0;
  // What is on the disks is gone with this process's mounts.
  if (!passed) chaos.keepDisks();
  await chaos.stop(violate);
  if (findings !== undefined) process.stdout.write(summary(findings));
  if (passed && violations.length === 0) {
    rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
    process.stdout.write("no violation\n");
    return true;
  }
  process.stdout.write(`${violations.map((text) => `VIOLATION: ${text}\n`).join("")}\n`);
  process.stdout.write(`${violations.length} violations with seed ${options.seed}; kept: ${directory}\n`);
  return false;
}

class Chaos {
  readonly #options: ChaosOptions;
  readonly #directory: string;
  readonly #violate: (detail: string) => void;
  readonly #history = new History();
  #stopped = false;
  #database: TestDatabase | undefined;
  #network: Network | undefined;
  #servers: ChaosServers | undefined;
  #replicas: Replicas | undefined;

  constructor(options: ChaosOptions, directory: string, violate: (detail: string) => void) {
    this.#options = options;
    this.#directory = directory;
    this.#violate = violate;
  }

  async run(): Promise<Findings> {
    const database = await startDatabase(this.#options.database);
    this.#database = database;
    const portBase = await freePorts(controllers.length + nodes.length);
    const network = await Network.start({
      directory: join(this.#directory, "network"),
      controllers,
      nodes,
      databaseUrl: database.url,
      portBase,
    });
    this.#network = network;
    const clusterDirectory = join(this.#directory, "cluster");
    mkdirSync(clusterDirectory);
    const servers = new ChaosServers({
      directory: clusterDirectory,
      network,
      controllers,
      nodes,
      env: settings,
      diskBytes,
    });
    this.#servers = servers;
    for (const name of servers.names) servers.start(name);
    for (const name of servers.names) await servers.waitReady(name, startLimitMs);
    const terminal = new Terminal(join(this.#directory, "checks"));
    const replicas = new Replicas({ servers, network, terminal, wanted: replicasWanted });
    this.#replicas = replicas;
    const workload = this.#workload(network);
    await workload.start();
    const faults = this.#faults();
    const logFile = join(this.#directory, "nemesis.log");
    const nemesis = new Nemesis({
      seed: this.#options.seed,
      faults,
      servers,
      network,
      database,
      replicas,
      logFile,
      onViolation: this.#violate,
    });
    const watching = this.#watch(servers);
    await nemesis.run(this.#options.minutes * 60_000);
    nemesis.say("healed");
    await network.heal();
    const healedMs = performance.now();
    const secondsSince = (): number => (performance.now() - healedMs) / 1000;
    // Those whose connection went half-open wait for their own limit.
    await workload.stop();
    const clientsSeconds = secondsSince();
    const whole = await waitFor(() => replicas.areWhole(), {
      what: "READY",
      limitMs: healLimitMs - 1000 * clientsSeconds,
    }).catch(() => false);
    const wholeSeconds = secondsSince();
    nemesis.say(
      `clients ended after ${clientsSeconds.toFixed(1)} s, all READY after ${wholeSeconds.toFixed(1)} s: ${whole}`,
    );
    if (!whole) this.#violate(`not READY within ${healLimitMs / 1000} s of healing: ${replicas.lastTrouble}`);
    const limits = { what: "surplus replicas to go", limitMs: healLimitMs };
    await waitFor(() => replicas.areSettled(), limits).catch((error: unknown) => {
      this.#violate(`${String(error)}: ${replicas.lastTrouble}`);
    });
    const checked = await checkCluster({
      history: this.#history,
      replicas,
      repositories: workload.repositories,
      reader: this.#client("final", network),
      onViolation: this.#violate,
    });
    this.#stopped = true;
    await watching;
    writeFileSync(join(this.#directory, "history.json"), this.#history.toJson());
    return {
      options: this.#options,
      counts: this.#history.counts,
      faults: nemesis.done,
      skipped: nemesis.skipped,
      leftOut: faultKinds.filter((kind) => !faults.some((fault) => fault.kind === kind)),
      clientsSeconds,
      wholeSeconds: whole ? wholeSeconds : undefined,
      ...checked,
    };
  }

  /** Stops all; whatever does not go as it should is a violation. */
  async stop(violate: (detail: string) => void): Promise<void> {
    this.#stopped = true;
    const servers = this.#servers;
    if (servers !== undefined) {
      for (const problem of await servers.stop()) violate(problem);
      await waitFor(() => processesIn(join(this.#directory, "cluster")).length === 0, {
        what: "no process to be left",
        limitMs: 10_000,
      }).catch(() => {
        const left = processesIn(join(this.#directory, "cluster"));
        violate(`processes were left: ${JSON.stringify(left)}`);
        for (const { pid } of left) process.kill(pid, "SIGKILL");
      });
      for (const name of servers.names) for (const trouble of logTrouble(name, servers.log(name))) violate(trouble);
      servers.unmountDisks();
    }
    await this.#network?.stop();
    await this.#database?.stop();
  }

  /** Copies the nodes' disks to where they outlive this process. */
  keepDisks(): void {
    for (const node of this.#servers?.nodes ?? []) {
      try {
        run("cp", "-a", this.#servers?.disk(node) ?? "", join(this.#directory, `disk of ${node}`));
      } catch (error) {
        // The servers still run: a file that is gone meanwhile is no reason to keep nothing.
        process.stdout.write(`${error instanceof Error ? error.message : String(error)}\n`);
      }
    }
  }

  #faults(): Fault[] {
    const all = [...processFaults, ...networkFaults, ...diskFaults];
    const { faults } = this.#options;
    return faults.length === 0 ? all : all.filter(({ kind }) => faults.includes(kind));
  }

  #workload(network: Network): Workload {
    const { seed } = this.#options;
    return new Workload({
      history: this.#history,
      newClient: (name) => ({ client: this.#client(name, network), random: Random.of(seed, name) }),
      apiUrl: (random) => network.outsideUrl(random.pick(controllers)),
      onViolation: this.#violate,
    });
  }

  #client(name: string, network: Network): GitClient {
    const random = Random.of(this.#options.seed, `${name}'s controllers`);
    return new GitClient({
      name,
      directory: join(this.#directory, "clients"),
      history: this.#history,
      url: (repository) => `${network.outsideUrl(random.pick(controllers))}/git/${repository}.git`,
      onBrokenRead: this.#violate,
      isDamaged: (repository) => this.#replicas?.isDamaged(repository) === true,
    });
  }

  /** Starts a server again that ended by itself, which none may. */
  async #watch(servers: ChaosServers): Promise<void> {
    await waitFor(
      () => {
        for (const name of servers.takeEnded()) {
          this.#violate(`${name} ended by itself:\n${servers.log(name).trim().split("\n").slice(-3).join("\n")}`);
          servers.start(name);
        }
        return this.#stopped;
      },
      { what: "the end", limitMs: Number.MAX_SAFE_INTEGER },
    );
  }
}
