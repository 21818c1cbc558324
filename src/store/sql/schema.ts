/**
 * The tables as Kysely sees them; migrations/ makes them. Names of refs and repositories are bytes on every engine, so
 * that case and accents are distinct and order is bytewise; object ids are text, which every driver gives without a
 * conversion. Flags are 0 or 1.
 */
import type { ColumnType, Generated } from "kysely";

/** Bytes: given as a Buffer, read as one or as a Uint8Array. */
export type Bytes = ColumnType<Uint8Array, Uint8Array, Uint8Array>;
/** Text whose bytes count: MySQL has it in a binary column and gives bytes. */
export type ByteText = ColumnType<string | Uint8Array, string, string>;

export interface RepositoryTable {
  readonly id: string;
  readonly name: ByteText;
  readonly object_format: string;
  readonly default_branch: Bytes;
  readonly description: string;
  readonly replicas_wanted: number;
  readonly deny_deletes: number;
  readonly deny_non_fast_forwards: number;
  readonly generation: number;
  readonly created_ms: number;
  readonly pushed_ms: number;
  /** Kept by repository-lock.ts: fewer READY replicas than wanted. */
  readonly degraded: number;
  /** Kept by repository-lock.ts: a replica is not READY, or there are more or fewer than wanted. */
  readonly unhealthy: number;
  /** Generation that a replica was seen at; above `generation` when the store has lost something; -1. */
  readonly ahead_generation: number;
}

/** Transactions that must not be run twice, until their outcome is known. */
export interface OperationTable {
  readonly id: string;
  readonly begun_ms: number;
}

export interface ReplicaTable {
  readonly repository_id: string;
  readonly node_id: string;
  /** Order of creation within the repository. */
  readonly position: number;
  readonly state: string;
  readonly generation: number;
  readonly missed_generation: number;
  readonly reason: string;
  readonly state_since_ms: number;
  readonly size_bytes: number;
  /** -1: never. -2: asked for. */
  readonly verified_ms: number;
  readonly damaged: number;
  readonly copy_number: number;
}

export interface RefTable {
  readonly repository_id: string;
  readonly name: Bytes;
  readonly oid: string;
  readonly peeled: string | null;
}

/** One row per part of a ref transaction; the parts of one have the same generation and push id. */
export interface RefLogTable {
  readonly repository_id: string;
  readonly generation: number;
  readonly part: number;
  readonly parts: number;
  readonly push_id: string;
  readonly committed_ms: number;
  readonly changes: Bytes;
}

export interface TombstoneTable {
  readonly repository_id: string;
  readonly name: ByteText;
  readonly deleted_ms: number;
}

export interface NodeTable {
  readonly id: string;
  readonly url: string;
  readonly boot_id: string;
  readonly version: string;
  readonly registered_ms: number;
  readonly heartbeat_ms: number;
  readonly disk_usage: number;
  readonly disk_free_bytes: number;
}

export interface LeaseTable {
  readonly name: string;
  readonly holder: string;
  readonly fencing: number;
  readonly expires_ms: number;
}

export interface EventTable {
  readonly id: Generated<number>;
  readonly at_ms: number;
  readonly kind: string;
  readonly repository_id: string;
  readonly repository_name: ByteText;
  readonly node_id: string;
  readonly detail: string;
}

export interface WorkTable {
  readonly repository_id: string;
  readonly node_id: string;
  readonly repository_name: ByteText;
  readonly kind: string;
  readonly state: string;
  readonly started_ms: number;
  readonly updated_ms: number;
  readonly progress: number;
  readonly detail: string;
  readonly failures: number;
}

export interface SampleTable {
  readonly start_ms: number;
  readonly subject: string;
  readonly numbers: string;
}

/** What is known of a node beside its record; no row is all false. */
export interface NodeStateTable {
  readonly node_id: string;
  readonly draining: number;
  /** There is an event of its death, and none of its return yet. */
  readonly told_dead: number;
  readonly load_average: number;
}

/** Replicas that a person wants off their node. */
export interface LeavingReplicaTable {
  readonly repository_id: string;
  readonly node_id: string;
  readonly since_ms: number;
}

export interface MigrationTable {
  readonly version: number;
  readonly name: string;
  readonly applied_ms: number;
}

export interface Schema {
  readonly repositories: RepositoryTable;
  readonly replicas: ReplicaTable;
  readonly refs: RefTable;
  readonly ref_log: RefLogTable;
  readonly tombstones: TombstoneTable;
  readonly nodes: NodeTable;
  readonly leases: LeaseTable;
  readonly events: EventTable;
  readonly work: WorkTable;
  readonly samples: SampleTable;
  readonly node_states: NodeStateTable;
  readonly leaving_replicas: LeavingReplicaTable;
  readonly operations: OperationTable;
  readonly schema_migrations: MigrationTable;
}

/** Text of a byte column. */
export function textOf(value: string | Uint8Array): string {
  return typeof value === "string"
    ? value
    : Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("utf8");
}
