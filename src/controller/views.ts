/** What the REST API shows of repositories and nodes (protocol/public-api.ts). Pure. */
import { branchShortName, type NodeView, type RepositoryView } from "../protocol/public-api.ts";
import type { Replica, RepositoryWithReplicas } from "../store/store.ts";
import type { ClusterNode } from "./cluster-node.ts";

/** `baseUrl`: under which the client reaches this controller, without a trailing slash. */
export function repositoryView(
  { repository, replicas }: RepositoryWithReplicas,
  nodes: ReadonlyMap<string, ClusterNode>,
  baseUrl: string,
): RepositoryView {
  const urlOf = (nodeId: string): string => nodes.get(nodeId)?.url ?? "";
  const primary = replicas.find((replica) => replica.state === "READY");
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
      reason: replica.reason,
      size: replica.sizeBytes,
      verifiedAt: replica.verifiedMs,
    })),
  };
}

export function nodeView(
  node: ClusterNode,
  replicas: readonly { readonly name: string; readonly replica: Replica }[],
): NodeView {
  return {
    id: node.id,
    url: node.url,
    state: node.alive ? (node.suspect ? "SUSPECT" : "ALIVE") : "DEAD",
    timestamp: node.heartbeatMs,
    registeredAt: node.registeredMs,
    diskUsage: node.diskUsage,
    diskFree: node.diskFreeBytes,
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
