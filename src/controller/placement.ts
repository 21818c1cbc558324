/** On which nodes a replica is put: nodes in, choice out. Pure. */
import type { ClusterNode } from "./cluster-node.ts";

export interface PlacementRules {
  /** A fuller node gets nothing, 0 to 1. */
  readonly diskUsageMax: number;
  /** Nodes that are out of the question, as those that have a replica already. */
  readonly exclude: ReadonlySet<string>;
  /** How many replicas a node was given lately: what its disk use does not show yet. */
  readonly placedOn: (nodeId: string) => number;
  /** A number in [0, 1), for ties. */
  readonly random: () => number;
}

/** Disk use is compared in steps, so that small differences do not send everything to one node. */
const usageStep = 0.05;

/**
 * Every node that may take a replica (one that is draining may not), best first: live before suspect before dead,
 * then the most room, then the fewest replicas given to it lately, then by chance.
 */
export function rankNodes(nodes: readonly ClusterNode[], rules: PlacementRules): readonly ClusterNode[] {
  return nodes
    .filter((node) => !node.draining && node.diskUsage < rules.diskUsageMax && !rules.exclude.has(node.id))
    .map((node) => ({
      node,
      key: [
        node.alive ? (node.suspect ? 1 : 0) : 2,
        Math.floor(node.diskUsage / usageStep),
        rules.placedOn(node.id),
        rules.random(),
      ] as const,
    }))
    .toSorted(({ key: one }, { key: other }) => {
      return one[0] - other[0] || one[1] - other[1] || one[2] - other[2] || one[3] - other[3];
    })
    .map(({ node }) => node);
}
