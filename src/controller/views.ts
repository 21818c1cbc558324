/** What the REST API shows of repositories and nodes (protocol/public-api.ts). Pure. */
import { branchShortName, type NodeView, type RepositoryView } from "../protocol/public-api.ts";
import type { Replica, ReplicaState, RepositoryWithReplicas } from "../store/store.ts";
import type { ClusterNode } from "./cluster-node.ts";

/**
 * `baseUrl`: under which the client reaches this controller, without a trailing slash. `leaving`: keys of replicas that
 * are to leave their node.
 */
export function repositoryView(
  { repository, replicas }: RepositoryWithReplicas,
  nodes: ReadonlyMap<string, ClusterNode>,
  baseUrl: string,
  leaving: ReadonlySet<string> = new Set(),
): RepositoryView {
  const urlOf = (nodeId: string): string => nodes.get(nodeId)?.url ?? "";
  const stateOf = (nodeId: string): NodeView["state"] => {
    const node = nodes.get(nodeId);
    return node === undefined ? "DEAD" : nodeStateOf(node);
  };
  const primary = replicas.find(({ state, nodeId }) => state === "READY" && stateOf(nodeId) !== "DEAD");
  return {
    id: repository.id,
    name: repository.name,
    description: repository.description,
    cloneUrl: `${baseUrl}/git/${repository.name}.git`,
    objectFormat: repository.objectFormat,
    defaultBranch: branchShortName(repository.defaultBranch),
    replicas: repository.replicasWanted,
    denyDeletes: repository.denyDeletes,
    denyNonFastForwards: repository.denyNonFastForwards,
    timestamp: repository.pushedMs,
    createdAt: repository.createdMs,
    generation: repository.generation,
    aheadGeneration: repository.aheadGeneration,
    size: Math.max(0, ...replicas.map((replica) => replica.sizeBytes)),
    primaryNode: primary === undefined ? "" : urlOf(primary.nodeId),
    nodes: replicas.map((replica) => ({
      url: urlOf(replica.nodeId),
      status: replica.state,
      generation: replica.generation,
      nodeId: replica.nodeId,
      nodeState: stateOf(replica.nodeId),
      reason: replica.reason,
      since: replica.stateSinceMs,
      leaving: leaving.has(leavingKey(replica.repositoryId, replica.nodeId)),
      size: replica.sizeBytes,
      verifiedAt: replica.verifiedMs,
    })),
  };
}

export function leavingKey(repositoryId: string, nodeId: string): string {
  return `${repositoryId} ${nodeId}`;
}

export function nodeStateOf({ alive, suspect }: ClusterNode): NodeView["state"] {
  return alive ? (suspect ? "SUSPECT" : "ALIVE") : "DEAD";
}

export function nodeView(
  node: ClusterNode,
  replicas: readonly { readonly name: string; readonly replica: Replica }[],
  counts: readonly { readonly nodeId: string; readonly state: ReplicaState; readonly count: number }[],
): NodeView {
  const countOf = (state: ReplicaState): number =>
    counts.find((entry) => entry.nodeId === node.id && entry.state === state)?.count ?? 0;
  return {
    id: node.id,
    url: node.url,
    state: nodeStateOf(node),
    timestamp: node.heartbeatMs,
    registeredAt: node.registeredMs,
    diskUsage: node.diskUsage,
    diskFree: node.diskFreeBytes,
    draining: node.draining,
    silentMs: Math.round(node.silentMs),
    load: node.loadAverage,
    replicas: {
      READY: countOf("READY"),
      PREPARING: countOf("PREPARING"),
      STALE: countOf("STALE"),
      QUARANTINED: countOf("QUARANTINED"),
    },
    version: node.version,
    repos: replicas.map(({ name, replica }) => ({ name, status: replica.state })),
  };
}

/**
 * The URL under which a client reaches this controller: the setting, or what its Host header says if that is a host and
 * nothing else (RFC 9110, 7.2), or the fallback.
 */
export function clientBaseUrl(advertiseUrl: string | undefined, host: string | undefined, fallback: string): string {
  if (advertiseUrl !== undefined) return advertiseUrl;
  const valid = /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?$/;
  return host !== undefined && valid.test(host) ? `http://${host}` : fallback;
}
