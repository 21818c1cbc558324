/** A whole simulated cluster, as its plan says: nodes, controllers on one store, and the network between them. */
import { SimulatedController } from "./controller.ts";
import { DatabaseLink, type SimulatedDatabase } from "./database.ts";
import { sendHeartbeats } from "./heartbeat.ts";
import { History } from "./history.ts";
import { Invariants, missingIn, signature } from "./invariants.ts";
import { Network } from "./network.ts";
import { SimulatedNode } from "./node.ts";
import { Objects } from "./objects.ts";
import type { Plan } from "./plan.ts";
import { Process, ProcessClock } from "./process.ts";
import type { Random } from "./random.ts";
import type { Simulation } from "./simulation.ts";

/** Where a controller runs, and what runs there now. */
export interface ControllerPlace {
  readonly process: Process;
  readonly link: DatabaseLink;
  readonly clockRate: number;
  controller: SimulatedController | undefined;
}

export class Cluster {
  readonly sim: Simulation;
  readonly plan: Plan;
  readonly network: Network;
  readonly objects = new Objects();
  readonly nodes: readonly SimulatedNode[];
  readonly controllers: readonly ControllerPlace[];
  readonly invariants: Invariants;
  readonly history: History;
  readonly #database: SimulatedDatabase;
  readonly #random: Random;
  readonly #ids: ProcessClock;

  constructor(sim: Simulation, database: SimulatedDatabase, plan: Plan, random: Random) {
    this.sim = sim;
    this.plan = plan;
    this.#database = database;
    this.#random = random;
    this.network = new Network(sim, random.fork());
    this.#ids = new ProcessClock(new Process("ids", sim), random.fork(), 1);
    const nodeRandom = random.fork();
    this.nodes = Array.from({ length: plan.nodes }, (_, index) => {
      const world = { network: this.network, objects: this.objects, random: nodeRandom, nodeAt: this.nodeAt };
      return new SimulatedNode(new Process(`n${index + 1}`, sim), `http://n${index + 1}:8082`, world, this.#ids.uuid());
    });
    this.controllers = Array.from({ length: plan.controllers }, (_, index) => {
      const process = new Process(`c${index + 1}`, sim);
      process.skewMs = Math.floor(random.between(-plan.skewMs, plan.skewMs));
      const link = new DatabaseLink();
      link.slowness = plan.storeSlowness;
      return { process, link, clockRate: random.pick([1, 1, 0.99, 1.01]), controller: undefined };
    });
    this.history = new History(sim);
    this.invariants = new Invariants(sim, database, this.objects, this.nodes);
    database.onCommit = (changed) => this.invariants.look(changed);
  }

  readonly nodeAt = (url: string): SimulatedNode | undefined => this.nodes.find((node) => node.url === url);

  startNode(node: SimulatedNode): void {
    if (node.process.running) return;
    node.start();
    void sendHeartbeats({
      node,
      bootId: this.#ids.uuid(),
      network: this.network,
      random: this.#random,
      intervalMs: this.plan.settings.heartbeatIntervalMs,
      controllers: this.controllers,
    });
  }

  loseDisk(node: SimulatedNode): void {
    this.sim.trace(`${node.process.name} loses its disk`);
    node.loseDisk(this.#ids.uuid(), this.sim.step);
  }

  startController(place: ControllerPlace): void {
    if (place.process.running) return;
    const { process, link, clockRate } = place;
    process.start();
    const controller = new SimulatedController({
      process,
      link,
      clockRate,
      database: this.#database,
      network: this.network,
      settings: this.plan.settings,
      random: this.#random,
      nodeAt: this.nodeAt,
    });
    place.controller = controller;
    void controller.run();
  }

  crashController(place: ControllerPlace): void {
    place.process.crash();
    place.controller = undefined;
  }

  /** Everything runs again, with nothing in its way. */
  heal(): void {
    Object.assign(this.network.faults, { loss: 0, duplication: 0, straggling: 0, delayMs: 1 });
    for (const place of this.controllers) {
      Object.assign(place.link, { mode: "ok", breakage: 0, commitBreakage: 0, slowness: 0.02 });
      place.process.resume();
      this.startController(place);
    }
    for (const node of this.nodes) {
      node.diskMs = 1;
      node.diskFull = false;
      node.process.resume();
      this.startNode(node);
    }
  }

  /** What is not yet as it is to be in the end; undefined when all is. */
  unsettled(): string | undefined {
    for (const state of this.invariants.committed()) {
      const closure = this.invariants.closureOf(state);
      const ready = state.replicas.filter((replica) => replica.state === "READY");
      if (ready.length !== state.replicasWanted || ready.length !== state.replicas.length) {
        const states = state.replicas.map((replica) => `${replica.state} ${replica.reason}`).join(", ");
        return `${state.name} has the replicas ${states}, and wants ${state.replicasWanted}`;
      }
      for (const replica of ready) {
        const node = this.nodes.find(({ disk }) => disk.identity === replica.node_id);
        const copy = node?.disk.replicas.get(state.id);
        if (node === undefined || copy === undefined) return `a replica of ${state.name} is nowhere`;
        if (replica.generation !== state.generation || copy.generation !== state.generation) {
          return `${node.process.name} is at generation ${copy.generation} (confirmed ${replica.generation}) of ${state.name}, not ${state.generation}`;
        }
        if (signature(copy.refs) !== signature(state.refs))
          return `the refs of ${state.name} on ${node.process.name} differ`;
        const missing = missingIn(copy, closure);
        if (missing !== undefined) return `${node.process.name} lacks ${missing} of ${state.name}`;
      }
    }
    return undefined;
  }
}
