/** Nodes and replicas for the table tests. */
import type { Replica, ReplicaState, Repository } from "../../store/store.ts";
import type { ClusterNode } from "../cluster-node.ts";

export function clusterNode(id: string, changes: Partial<ClusterNode> = {}): ClusterNode {
  return {
    id,
    url: `http://${id}:8082`,
    version: "0.1.0",
    registeredMs: 0,
    heartbeatMs: 0,
    diskUsage: 0.2,
    diskFreeBytes: 1e12,
    draining: false,
    toldDead: false,
    loadAverage: -1,
    alive: true,
    suspect: false,
    silentMs: 0,
    inFlight: 0,
    ...changes,
  };
}

export function replica(nodeId: string, state: ReplicaState, changes: Partial<Replica> = {}): Replica {
  return {
    repositoryId: "01900000-0000-7000-8000-000000000001",
    nodeId,
    state,
    generation: 0,
    missedGeneration: -1,
    reason: "",
    stateSinceMs: 0,
    sizeBytes: 0,
    verifiedMs: -1,
    damaged: false,
    copyNumber: 0,
    ...changes,
  };
}

export function repository(changes: Partial<Repository> = {}): Repository {
  return {
    id: "01900000-0000-7000-8000-000000000001",
    name: "test",
    objectFormat: "sha1",
    defaultBranch: "refs/heads/master",
    description: "",
    replicasWanted: 3,
    denyDeletes: false,
    denyNonFastForwards: false,
    generation: 0,
    aheadGeneration: -1,
    createdMs: 0,
    pushedMs: -1,
    ...changes,
  };
}
