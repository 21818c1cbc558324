/** What a repository's replicas need, as a value: states in, steps out. Pure. */
import { isComplete } from "../store/replica.ts";
import type { RepositoryWithReplicas } from "../store/store.ts";
import { isLost, type ClusterNode } from "./cluster-node.ts";
import { rankNodes } from "./placement.ts";

export type RepairStep =
  /** Fill this replica (STALE, or PREPARING and left over) from a READY one. */
  | { readonly kind: "catch-up"; readonly nodeId: string }
  /** Bring this READY replica's own refs to the repository's generation. */
  | { readonly kind: "apply"; readonly nodeId: string; readonly generation: number }
  /** Put one more replica on this node. */
  | { readonly kind: "add"; readonly nodeId: string; readonly reason: string }
  /** Take this replica out, if `readyElsewhere` others are READY. */
  | { readonly kind: "remove"; readonly nodeId: string; readonly readyElsewhere: number; readonly reason: string };

export interface RepairPlan {
  readonly steps: readonly RepairStep[];
  /** What cannot be done, for a person; "" when there is nothing of the kind. */
  readonly stuck: string;
}

export interface RepairRules {
  readonly repairGraceMs: number;
  readonly diskUsageMax: number;
  readonly random: () => number;
  /** Nodes that a person wants replicas of this repository off; those that are draining come on top. */
  readonly leaving?: ReadonlySet<string>;
}

/**
 * Fills what can be filled, adds what is missing, and only then removes what is surplus.
 *
 * Invariant: a removal is planned only when the wanted number of other replicas is complete on live nodes; nothing is ever
 * filled from a replica that is not READY.
 */
export function planRepair(
  { repository, replicas }: RepositoryWithReplicas,
  nodes: readonly ClusterNode[],
  rules: RepairRules,
): RepairPlan {
  // What the store says of it is not the newest: a person decides first (adoption.ts).
  if (repository.aheadGeneration >= 0) return { steps: [], stuck: "replicas are ahead of the metadata store" };
  const nodeOf = new Map(nodes.map((node) => [node.id, node]));
  const isLive = (nodeId: string): boolean => nodeOf.get(nodeId)?.alive === true;
  const isGone = (nodeId: string): boolean => isLost(nodeOf.get(nodeId), rules.repairGraceMs);
  const leaves = (nodeId: string): boolean =>
    rules.leaving?.has(nodeId) === true || nodeOf.get(nodeId)?.draining === true;
  const readyLive = replicas.filter(({ state, nodeId }) => state === "READY" && isLive(nodeId));
  const completeStaying = readyLive.filter((replica) => isComplete(replica) && !leaves(replica.nodeId));
  const wanted = repository.replicasWanted;
  // Those that are READY on a node that is gone for good are of no more use than none.
  const noneReady = !replicas.some(({ state, nodeId }) => state === "READY" && !isGone(nodeId));
  const steps: RepairStep[] = [];
  const toFill = replicas.filter(({ state }) => state === "STALE" || state === "PREPARING");

  // A QUARANTINED replica is a person's affair: it neither counts nor is touched.
  const counted = replicas.filter(({ state, nodeId }) => state !== "QUARANTINED" && !isGone(nodeId) && !leaves(nodeId));
  const surplus = surplusOf(counted, completeStaying, wanted, nodeOf);
  for (const { nodeId } of toFill) {
    const answers = isLive(nodeId) && nodeOf.get(nodeId)?.suspect === false;
    // With no READY replica left, each is asked to prove that it is complete (docs/decisions/0005).
    const worthTrying = readyLive.length > 0 || noneReady;
    if (answers && worthTrying && !surplus.includes(nodeId)) steps.push({ kind: "catch-up", nodeId });
  }
  for (const { nodeId, generation } of readyLive) {
    if (generation < repository.generation) steps.push({ kind: "apply", nodeId, generation });
  }
  const missing = wanted - counted.length;
  let unplaced = 0;
  if (missing > 0 && readyLive.length > 0) {
    const exclude = new Set(replicas.map(({ nodeId }) => nodeId));
    const ranked = rankNodes(nodes, { ...rules, exclude, placedOn: () => 0 }).filter(({ alive }) => alive);
    const reason = "to be filled";
    for (const { id } of ranked.slice(0, missing)) steps.push({ kind: "add", nodeId: id, reason });
    unplaced = Math.max(0, missing - ranked.length);
  }
  for (const { nodeId, state } of replicas) {
    const elsewhere = completeStaying.filter((ready) => ready.nodeId !== nodeId).length;
    if (state === "QUARANTINED" || elsewhere < wanted) continue;
    if (isGone(nodeId))
      steps.push({ kind: "remove", nodeId, readyElsewhere: wanted, reason: "its repository server is gone" });
    else if (leaves(nodeId)) steps.push({ kind: "remove", nodeId, readyElsewhere: wanted, reason: "moved" });
    else if (surplus.includes(nodeId))
      steps.push({ kind: "remove", nodeId, readyElsewhere: wanted, reason: "surplus" });
  }
  return {
    steps,
    stuck: stuckReason(!noneReady, readyLive.length, unplaced),
  };
}

type Replicas = RepositoryWithReplicas["replicas"];

/** Nodes of the replicas above the wanted number: those that cannot be read first, then on the fullest nodes, then the last. */
function surplusOf(
  counted: Replicas,
  completeLive: Replicas,
  wanted: number,
  nodeOf: ReadonlyMap<string, ClusterNode>,
): readonly string[] {
  const over = counted.length - wanted;
  if (over <= 0 || completeLive.length < wanted) return [];
  const usage = ({ nodeId }: Replicas[number]): number => nodeOf.get(nodeId)?.diskUsage ?? 1;
  return counted
    .map((replica, order) => ({ replica, order, spare: completeLive.includes(replica) ? 1 : 0 }))
    .toSorted(
      (one, other) => one.spare - other.spare || usage(other.replica) - usage(one.replica) || other.order - one.order,
    )
    .slice(0, over)
    .map(({ replica }) => replica.nodeId);
}

function stuckReason(anyReady: boolean, readyLive: number, unplaced: number): string {
  if (!anyReady) return "no replica is complete: nothing to repair it from";
  if (readyLive === 0) return "no complete replica can be reached";
  if (unplaced > 0) return `no repository server has room for ${unplaced} more of its replicas`;
  return "";
}
