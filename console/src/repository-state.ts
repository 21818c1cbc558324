/** What a repository's or a replica's state looks like. Pure. */
import type { NodeView, RepositoryView } from "./data/api.ts";

export type Replica = RepositoryView["nodes"][number];
export type Tone = "good" | "info" | "warning" | "bad" | "neutral";

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

/** Generations that a replica's own refs are behind; undefined when it has none yet. */
export function lagOf(repository: RepositoryView, replica: Replica): number | undefined {
  return replica.generation < 0 ? undefined : Math.max(0, repository.generation - replica.generation);
}

export function repositoryState(repository: RepositoryView): { readonly tone: Tone; readonly text: string } {
  const ready = repository.nodes.filter(({ status }) => status === "READY").length;
  if (ready === 0) return { tone: "bad", text: "No complete replica" };
  if (ready < repository.replicas) return { tone: "warning", text: `${ready} of ${repository.replicas} complete` };
  return { tone: "good", text: "Healthy" };
}

export function nodeTone(node: Pick<NodeView, "state" | "draining">): { readonly tone: Tone; readonly text: string } {
  if (node.state === "DEAD") return { tone: "bad", text: "Dead" };
  if (node.state === "SUSPECT") return { tone: "warning", text: "Suspect" };
  return node.draining ? { tone: "info", text: "Draining" } : { tone: "good", text: "Alive" };
}
