/** What a seed stands for: how large the cluster is, what goes wrong in it and how often. */
import { controllerSettingsSchema, type ControllerSettings } from "../../src/base/settings.ts";
import type { NetworkFaults } from "./network.ts";
import type { Random } from "./random.ts";

export const faultKinds = [
  "node-killed",
  "node-power-loss",
  "controller-killed",
  "killed-at-a-step",
  "paused",
  "partition",
  "one-way-partition",
  "node-cut-off",
  "bad-network",
  "clock-jump",
  "store-unreachable",
  "store-breaks",
  "commit-unknown",
  "disk-lost",
  "copy-lost",
  "disk-slow",
  "disk-full",
  "bit-rot",
] as const;
export type FaultKind = (typeof faultKinds)[number];

export interface Plan {
  readonly nodes: number;
  readonly controllers: number;
  readonly clients: number;
  readonly repositories: number;
  readonly replicas: number;
  /** How many replicas a repository may be given later. */
  readonly replicaCounts: readonly number[];
  /** How long faults happen and clients work, ms. */
  readonly durationMs: number;
  /** Mean time between two operations of a client, ms. */
  readonly thinkMs: number;
  /** Share of a client's operations that create, delete, rename and change repositories. */
  readonly administration: number;
  readonly faults: readonly FaultKind[];
  /** Mean time between two faults, ms. */
  readonly faultEveryMs: number;
  readonly network: NetworkFaults;
  /** Probability that a statement takes time. */
  readonly storeSlowness: number;
  /** Clocks differ by up to so much, ms. */
  readonly skewMs: number;
  readonly settings: ControllerSettings;
}

export function planOf(random: Random): Plan {
  const nodes = random.pick([3, 3, 3, 4, 4, 5]);
  const calm = random.chance(0.05);
  // Few kinds at a time, others in other seeds: together they would hide each other.
  const share = random.pick([0.15, 0.3, 0.6, 1]);
  const faults = faultKinds.filter(() => random.chance(share));
  // A quorum of one survives no lost disk.
  const damages = faults.includes("disk-lost") || faults.includes("copy-lost") || faults.includes("bit-rot");
  return {
    nodes,
    controllers: random.pick([1, 2, 2, 2, 3]),
    clients: random.pick([2, 3, 3, 4]),
    repositories: random.pick([1, 1, 2]),
    replicas: damages ? 3 : random.pick([3, 3, 3, 2]),
    replicaCounts: damages ? [3, nodes] : [2, 3, nodes],
    durationMs: random.between(4000, 14_000),
    thinkMs: random.pick([200, 500, 1000]),
    administration: random.pick([0.03, 0.03, 0.2]),
    faults: calm ? [] : faults,
    faultEveryMs: random.pick([600, 1500, 3000]),
    network: {
      loss: random.pick([0, 0, 0, 0.002, 0.02]),
      duplication: random.pick([0, 0, 0.05]),
      straggling: random.pick([0, 0, 0.003, 0.02]),
      delayMs: random.pick([0.5, 2, 20]),
    },
    storeSlowness: random.pick([0.02, 0.2]),
    skewMs: random.pick([0, 500, 8000]),
    settings: settingsOf(random),
  };
}

/** Shorter than the defaults, so that in a short time much happens. */
function settingsOf(random: Random): ControllerSettings {
  return controllerSettingsSchema.parse({
    secret: "the secret of the simulation",
    heartbeatIntervalMs: 2500,
    nodeTimeoutMs: 7000,
    repairGraceMs: random.pick([9000, 12_000, 600_000]),
    repairIntervalMs: 2000,
    leaseMs: 9000,
    nodeIdleMs: random.pick([1000, 4000]),
    applyMs: random.pick([500, 2500]),
    refLogKeep: random.pick([3, 10_000, 10_000]),
    // Longer than the outcome of a COMMIT can stay unknown (database.ts).
    refLogKeepMs: 16_000,
    scrubIntervalMs: random.pick([5000, 3_600_000, 3_600_000]),
    scrubShare: 1,
    asideKeepMs: 5000,
  });
}
