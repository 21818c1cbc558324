/** Rows of the tables as what the store's interface calls them. */
import type { Selectable } from "kysely";
import { refNameFromBytes } from "../../protocol/ref-name.ts";
import type { NodeRecord, ObjectFormat, Replica, ReplicaState, Repository } from "../store.ts";
import { textOf, type NodeStateTable, type NodeTable, type ReplicaTable, type RepositoryTable } from "./schema.ts";

/** A node with its state, if it has one. */
type NodeRow = Selectable<NodeTable> & {
  [K in Exclude<keyof NodeStateTable, "node_id">]: Selectable<NodeStateTable>[K] | null;
};

export function repositoryOf(row: Selectable<RepositoryTable>): Repository {
  return {
    id: row.id,
    name: textOf(row.name),
    objectFormat: objectFormatOf(row.object_format),
    defaultBranch: refNameFromBytes(row.default_branch),
    description: row.description,
    replicasWanted: row.replicas_wanted,
    denyDeletes: row.deny_deletes === 1,
    denyNonFastForwards: row.deny_non_fast_forwards === 1,
    generation: row.generation,
    aheadGeneration: row.ahead_generation > row.generation ? row.ahead_generation : -1,
    createdMs: row.created_ms,
    pushedMs: row.pushed_ms,
  };
}

export function replicaOf(row: Selectable<ReplicaTable>): Replica {
  return {
    repositoryId: row.repository_id,
    nodeId: row.node_id,
    state: replicaStateOf(row.state),
    generation: row.generation,
    missedGeneration: row.missed_generation,
    reason: row.reason,
    stateSinceMs: row.state_since_ms,
    sizeBytes: row.size_bytes,
    verifiedMs: row.verified_ms,
    damaged: row.damaged === 1,
    copyNumber: row.copy_number,
  };
}

export function nodeOf(row: NodeRow): NodeRecord {
  return {
    id: row.id,
    url: row.url,
    bootId: row.boot_id,
    version: row.version,
    registeredMs: row.registered_ms,
    heartbeatMs: row.heartbeat_ms,
    diskUsage: row.disk_usage,
    diskFreeBytes: row.disk_free_bytes,
    draining: row.draining === 1,
    toldDead: row.told_dead === 1,
    loadAverage: row.load_average ?? -1,
  };
}

function objectFormatOf(text: string): ObjectFormat {
  if (text === "sha1" || text === "sha256") return text;
  throw new Error(`unknown object format in the store: ${text}`);
}

export function replicaStateOf(text: string): ReplicaState {
  if (text === "PREPARING" || text === "READY" || text === "STALE" || text === "QUARANTINED") return text;
  throw new Error(`unknown replica state in the store: ${text}`);
}
