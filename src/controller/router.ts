/** Which replicas serve a read or take a write: states in, route out. Pure. */
import type { Replica } from "../store/store.ts";
import type { ClusterNode } from "./cluster-node.ts";

export interface ReadTarget {
  readonly nodeId: string;
  readonly url: string;
}

export interface ReadRoute {
  /** READY replicas on live nodes, in the order in which they are to be asked. */
  readonly candidates: readonly ReadTarget[];
  /** Why there are none, as a sentence; "" when there are. */
  readonly reason: string;
}

export interface WriteTarget {
  readonly nodeId: string;
  readonly url: string;
  /** False for a PREPARING replica: it is written to, but does not count for the quorum. */
  readonly ready: boolean;
  /** Of the replica. */
  readonly copyNumber: number;
}

export type WriteRoute =
  | { readonly kind: "stage"; readonly targets: readonly WriteTarget[] }
  | { readonly kind: "no-quorum"; readonly ready: number; readonly needed: number; readonly sentence: string };

/**
 * Nodes that answer before suspect ones, then the least busy. `turn` (any whole number, another for each call) says
 * who is first among equals, so that reads are spread.
 */
export function routeRead(replicas: readonly Replica[], nodes: readonly ClusterNode[], turn: number): ReadRoute {
  const ready = replicas.filter((replica) => replica.state === "READY");
  const found: ClusterNode[] = [];
  for (const { nodeId } of ready) {
    const node = nodes.find(({ id }) => id === nodeId);
    if (node?.alive === true) found.push(node);
  }
  const first = found.length === 0 ? 0 : turn % found.length;
  const rotated = [...found.slice(first), ...found.slice(0, first)];
  const candidates = rotated
    .toSorted((one, other) => Number(one.suspect) - Number(other.suspect) || one.inFlight - other.inFlight)
    .map(({ id, url }) => ({ nodeId: id, url }));
  const reason =
    candidates.length > 0
      ? ""
      : ready.length === 0
        ? "no replica of this repository is complete"
        : `none of its ${ready.length} complete replicas can be reached`;
  return { candidates, reason };
}

/**
 * Where a push is staged: READY and PREPARING replicas on live nodes that are not suspect. A suspect one is left out
 * (and is STALE by the commit): waiting for a node that hangs would hold up every push until it is dead.
 */
export function routeWrite(
  replicas: readonly Replica[],
  nodes: readonly ClusterNode[],
  writeQuorum: number,
): WriteRoute {
  const targets: WriteTarget[] = [];
  for (const { nodeId, state, copyNumber } of replicas) {
    if (state !== "READY" && state !== "PREPARING") continue;
    const node = nodes.find(({ id }) => id === nodeId);
    if (node === undefined || !node.alive || node.suspect) continue;
    targets.push({ nodeId, url: node.url, ready: state === "READY", copyNumber });
  }
  const ready = targets.filter((target) => target.ready).length;
  if (ready >= writeQuorum) return { kind: "stage", targets };
  const sentence = `only ${ready} of the ${writeQuorum} complete replicas that a push needs can be reached; try again shortly`;
  return { kind: "no-quorum", ready, needed: writeQuorum, sentence };
}
