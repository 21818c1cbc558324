/** Breaks things at random and mends them after a while, as the plan of a seed allows. */
import type { Cluster } from "./cluster.ts";
import type { FaultKind } from "./plan.ts";
import type { Process } from "./process.ts";
import type { Random } from "./random.ts";

const faultMs = 2500;
const faultMsMax = 12_000;
/** A process that is to be killed at a step is killed within so many. */
const stepsMax = 60;

export class Nemesis {
  readonly #cluster: Cluster;
  readonly #random: Random;
  readonly #mending = new Set<() => void>();
  readonly counts = new Map<FaultKind, number>();
  #cancel: () => void = () => {};

  constructor(cluster: Cluster, random: Random) {
    this.#cluster = cluster;
    this.#random = random;
  }

  start(): void {
    const { sim, plan } = this.#cluster;
    if (plan.faults.length === 0) return;
    this.#cancel = sim.schedule(this.#random.around(plan.faultEveryMs), () => {
      this.#strike(this.#random.pick(plan.faults));
      this.start();
    });
  }

  /** No more faults; those that last are mended. */
  stop(): void {
    this.#cancel();
    for (const mend of this.#mending) mend();
    this.#mending.clear();
  }

  #strike(kind: FaultKind): void {
    const mend = this.#inflict(kind);
    if (mend === undefined) return;
    this.#cluster.sim.trace(`nemesis: ${kind}`);
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
    this.#mending.add(mend);
    const lastsMs = Math.min(faultMsMax, this.#random.around(faultMs));
    this.#cluster.sim.schedule(lastsMs, () => {
      if (!this.#mending.delete(mend)) return;
      this.#cluster.sim.trace(`nemesis: ${kind} ends`);
      mend();
    });
  }

  /** Returns what undoes it; undefined when it cannot be done now. */
  #inflict(kind: FaultKind): (() => void) | undefined {
    const { controllers, nodes, network } = this.#cluster;
    const random = this.#random;
    const place = random.pick(controllers);
    const node = random.pick(nodes);
    const processes = [...nodes, ...controllers].map(({ process }) => process);
    switch (kind) {
      case "node-killed":
      case "node-power-loss":
        node.crash(kind === "node-power-loss");
        return () => this.#cluster.startNode(node);
      case "controller-killed":
        this.#cluster.crashController(place);
        return () => this.#cluster.startController(place);
      case "killed-at-a-step":
        return this.#killAtStep();
      case "paused": {
        const process = random.pick(processes);
        process.pause();
        return () => process.resume();
      }
      case "partition":
      case "one-way-partition": {
        const side = new Set(processes.filter(() => random.chance(0.5)));
        const others = processes.filter((process) => !side.has(process));
        return this.#cutBetween([...side], others, kind === "partition");
      }
      case "node-cut-off": {
        // From one of the others, or from all.
        const others = processes.filter((process) => process !== node.process);
        return this.#cutBetween(
          [node.process],
          random.chance(0.5) ? others : [random.pick(others)],
          random.chance(0.5),
        );
      }
      case "bad-network": {
        const before = { ...network.faults };
        Object.assign(network.faults, {
          loss: random.between(0, 0.2),
          straggling: random.between(0, 0.1),
          delayMs: random.between(1, 100),
        });
        return () => Object.assign(network.faults, { ...before, duplication: network.faults.duplication });
      }
      case "clock-jump":
        place.process.skewMs += Math.floor(random.between(-20_000, 20_000));
        return () => {};
      case "store-unreachable": {
        const affected = random.chance(0.4) ? controllers : [place];
        const mode = random.pick(["refuses", "hangs"] as const);
        for (const { link } of affected) link.mode = mode;
        return () => {
          for (const { link } of affected) link.mode = "ok";
        };
      }
      case "store-breaks":
        place.link.breakage = random.between(0.005, 0.1);
        return () => {
          place.link.breakage = 0;
        };
      case "commit-unknown":
        place.link.commitBreakage = random.between(0.2, 1);
        return () => {
          place.link.commitBreakage = 0;
        };
      case "disk-lost": {
        if (!this.#mayDamage()) return undefined;
        node.crash(true);
        this.#cluster.loseDisk(node);
        return () => this.#cluster.startNode(node);
      }
      case "copy-lost": {
        // The node keeps its identity: a directory was removed, or is not mounted.
        const copies = [...node.disk.replicas.keys()];
        if (copies.length === 0 || !this.#mayDamage()) return undefined;
        node.crash(false);
        node.loseCopy(random.pick(copies), this.#cluster.sim.step);
        return () => this.#cluster.startNode(node);
      }
      case "disk-slow":
        node.diskMs = random.pick([20, 200, 2000]);
        return () => {
          node.diskMs = 1;
        };
      case "disk-full":
        node.diskFull = true;
        return () => {
          node.diskFull = false;
        };
      case "bit-rot":
        return this.#mayDamage() ? this.#rot() : undefined;
    }
  }

  /** At one of its next messages or statements: between any two steps of what it does. */
  #killAtStep(): () => void {
    const { controllers, nodes } = this.#cluster;
    const random = this.#random;
    const place = random.pick(controllers);
    const node = random.pick(nodes);
    const isController = random.chance(0.6);
    const process: Process = isController ? place.process : node.process;
    let left = random.below(stepsMax);
    process.beforeStep = () => {
      left -= 1;
      if (left > 0) return;
      if (isController) this.#cluster.crashController(place);
      else node.crash(random.chance(0.5));
    };
    return () => {
      process.beforeStep = () => {};
      if (isController) this.#cluster.startController(place);
      else this.#cluster.startNode(node);
    };
  }

  #cutBetween(side: readonly Process[], others: readonly Process[], bothWays: boolean): () => void {
    const { network } = this.#cluster;
    const mends = side.flatMap((one) =>
      others.flatMap((other) => [network.cut(one, other), ...(bothWays ? [network.cut(other, one)] : [])]),
    );
    return () => {
      for (const mend of mends) mend();
    };
  }

  /**
   * What no cluster survives is not done: all copies are whole before one is damaged, so that with a quorum of two
   * another is left.
   */
  #mayDamage(): boolean {
    const { invariants, nodes } = this.#cluster;
    return invariants.committed().every(
      ({ id, replicas, replicasWanted }) =>
        replicasWanted >= 3 &&
        replicas.length >= 3 &&
        replicas.every(({ node_id: nodeId, state }) => {
          const copy = nodes.find(({ disk }) => disk.identity === nodeId)?.disk.replicas.get(id);
          return state === "READY" && copy?.rotten.size === 0;
        }),
    );
  }

  #rot(): (() => void) | undefined {
    const copies = this.#cluster.nodes.flatMap(({ disk }) => [...disk.replicas.values()]);
    const withRefs = copies.filter(({ refs }) => refs.size > 0);
    if (withRefs.length === 0) return undefined;
    const copy = this.#random.pick(withRefs);
    const id = this.#random.pick([...this.#cluster.objects.reach(copy.refs.values())]);
    copy.objects.delete(id);
    copy.rotten.add(id);
    return () => {};
  }
}
