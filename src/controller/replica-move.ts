/** Whether a replica may move, and where to: states in, decision out. Pure. */
import { GitmeshError } from "../base/errors.ts";
import type { RepositoryWithReplicas } from "../store/store.ts";
import type { ClusterNode } from "./cluster-node.ts";
import { nodeNamed } from "./node-lookup.ts";
import { rankNodes } from "./placement.ts";

export interface Move {
  readonly fromId: string;
  /** Undefined: the repair takes one with room. */
  readonly toId: string | undefined;
}

/** Nodes are given by id, HOST:PORT or URL. Throws "node-not-found" and "move-refused". */
export function planMove(
  { repository, replicas }: RepositoryWithReplicas,
  nodes: readonly ClusterNode[],
  wanted: { readonly from: string; readonly to?: string | undefined },
  { diskUsageMax }: { readonly diskUsageMax: number },
): Move {
  const held = new Set(replicas.map(({ nodeId }) => nodeId));
  const from = nodeNamed(nodes, wanted.from);
  if (!held.has(from.id)) throw new GitmeshError("move-refused", `${from.url} has no replica of ${repository.name}`);
  const fit = rankNodes(nodes, { diskUsageMax, exclude: held, placedOn: () => 0, random: () => 0 });
  const live = fit.filter(({ alive }) => alive);
  if (wanted.to === undefined) {
    if (live.length > 0) return { fromId: from.id, toId: undefined };
    throw new GitmeshError("move-refused", "there is no other live repository server with room");
  }
  const to = nodeNamed(nodes, wanted.to);
  if (live.includes(to)) return { fromId: from.id, toId: to.id };
  throw new GitmeshError("move-refused", `${to.url} ${whyNot(to, held, diskUsageMax)}`);
}

function whyNot(node: ClusterNode, held: ReadonlySet<string>, diskUsageMax: number): string {
  if (held.has(node.id)) return "has a replica of it already";
  if (!node.alive) return "is not alive";
  if (node.draining) return "is draining";
  return node.diskUsage >= diskUsageMax ? "has no room" : "cannot take it";
}
