/** What a repository's, a replica's or a node's state looks like. Pure. */
import type { NodeView, RepositoryView } from "./data/api.ts";

/** `nodeState`: of the node that it is on, where the controller says it. */
export type Replica = RepositoryView["nodes"][number] & { readonly nodeState?: NodeView["state"] };
export type Tone = "good" | "info" | "warning" | "bad" | "neutral";

export interface Look {
  readonly tone: Tone;
  readonly text: string;
}

export const replicaTone: Readonly<Record<Replica["status"], Tone>> = {
  READY: "good",
  PREPARING: "info",
  STALE: "warning",
  QUARANTINED: "bad",
};

export const replicaWords: Readonly<Record<Replica["status"], string>> = {
  READY: "complete",
  PREPARING: "catching up",
  STALE: "behind",
  QUARANTINED: "quarantined",
};

const isReady = ({ status }: Replica): boolean => status === "READY";
const isReachable = (replica: Replica): boolean => isReady(replica) && replica.nodeState !== "DEAD";

/** A complete replica on a dead node serves nobody. */
export function replicaLook({ status, nodeState }: Replica): Look {
  if (nodeState === "DEAD")
    return { tone: "bad", text: status === "READY" ? "node dead" : `${replicaWords[status]}, node dead` };
  return { tone: replicaTone[status], text: replicaWords[status] };
}

/** Generations that a replica's own refs are behind; undefined when it has none yet. */
export function lagOf(repository: RepositoryView, replica: Replica): number | undefined {
  return replica.generation < 0 ? undefined : Math.max(0, repository.generation - replica.generation);
}

/** Worst first: what was lost, what cannot be had, what is too few. */
export function repositoryState(repository: RepositoryView): Look {
  const { nodes, replicas } = repository;
  if (repository.aheadGeneration >= 0) return { tone: "bad", text: "Lost pushes: adopt" };
  const ready = nodes.filter(isReady).length;
  const reachable = nodes.filter(isReachable).length;
  if (ready === 0) return { tone: "bad", text: "No complete replica" };
  if (reachable === 0) return { tone: "bad", text: "No complete replica on a live node" };
  if (ready < replicas) return { tone: "warning", text: `${ready} of ${replicas} complete` };
  if (reachable < replicas) return { tone: "warning", text: `${reachable} of ${replicas} on live nodes` };
  return { tone: "good", text: "Healthy" };
}

export function nodeTone(node: Pick<NodeView, "state" | "draining">): Look {
  if (node.state === "DEAD") return { tone: "bad", text: "Dead" };
  if (node.state === "SUSPECT") return { tone: "warning", text: "Suspect" };
  return node.draining ? { tone: "info", text: "Draining" } : { tone: "good", text: "Alive" };
}
