/**
 * What the cluster remembers: the interface that the controller uses. One implementation over SQL (sql/), the same
 * on SQLite, MariaDB/MySQL and PostgreSQL; the contract suite is testing/store-contract.ts.
 *
 * Every method throws GitmeshError "store-unavailable" when the database does not answer. Times are ms since 1970,
 * given by the caller. Repository ids and node ids are UUIDs (v7) in text form.
 */
import type { RefName, ObjectId } from "../protocol/ref-name.ts";
import type { ActivityStore } from "./activity.ts";
import type { MoveStore } from "./moves.ts";
import type { Replica, ReplicaCopy, ReplicaState } from "./replica.ts";
import type { Period, VerificationStore } from "./verification.ts";

export type { Replica, ReplicaCopy, ReplicaState } from "./replica.ts";

export type ObjectFormat = "sha1" | "sha256";

export interface Repository {
  readonly id: string;
  readonly name: string;
  readonly objectFormat: ObjectFormat;
  /** Full name, as in refs/heads/master; may be unborn. */
  readonly defaultBranch: RefName;
  readonly description: string;
  readonly replicasWanted: number;
  readonly denyDeletes: boolean;
  readonly denyNonFastForwards: boolean;
  readonly generation: number;
  /** The latest generation that a copy was seen at, when the store is behind it; -1 otherwise. */
  readonly aheadGeneration: number;
  readonly createdMs: number;
  /** Of the last committed push; -1 before the first. */
  readonly pushedMs: number;
}

export interface RepositoryWithReplicas {
  readonly repository: Repository;
  /** In order of creation; the first READY one on a live node is the primary. */
  readonly replicas: readonly Replica[];
}

export interface ReplicaOfNode {
  readonly name: string;
  readonly defaultBranch: RefName;
  readonly replica: Replica;
}

export interface NodeRecord {
  readonly id: string;
  /** Base URL without a trailing slash; unique. */
  readonly url: string;
  /** Of the server process; changes at each start. */
  readonly bootId: string;
  readonly version: string;
  readonly registeredMs: number;
  readonly heartbeatMs: number;
  /** Used part of the file system, 0 to 1. */
  readonly diskUsage: number;
  readonly diskFreeBytes: number;
  /** A person wants its replicas elsewhere. */
  readonly draining: boolean;
  /** There is an event of its death, and none of its return yet. */
  readonly toldDead: boolean;
  /** Of the operating system over a minute, for each processor; -1 when it is not known. */
  readonly loadAverage: number;
}

export interface NewRepository {
  readonly id: string;
  readonly name: string;
  readonly objectFormat: ObjectFormat;
  readonly defaultBranch: RefName;
  readonly description: string;
  readonly replicasWanted: number;
  readonly createdMs: number;
  /** In order of preference; those whose directory exists are READY at generation 0, the others STALE at -1. */
  readonly placements: readonly { readonly nodeId: string; readonly created: boolean }[];
}

export interface RepositoryPatch {
  readonly name?: string | undefined;
  readonly defaultBranch?: RefName | undefined;
  readonly description?: string | undefined;
  readonly replicasWanted?: number | undefined;
  readonly denyDeletes?: boolean | undefined;
  readonly denyNonFastForwards?: boolean | undefined;
}

export interface RepositoryQuery {
  /** Part of the name; "" for all. */
  readonly contains?: string | undefined;
  /** "degraded": fewer READY replicas than wanted. */
  readonly state?: "healthy" | "degraded" | undefined;
  readonly sort?: "name" | "-name" | "pushed" | "-pushed" | "created" | "-created" | undefined;
  /** What the page before gave as `next`. */
  readonly cursor?: string | undefined;
  readonly limit: number;
}

export interface RepositoryPage {
  readonly items: readonly RepositoryWithReplicas[];
  readonly next: string | undefined;
}

export interface RefQuery {
  /** What the names begin with, as in "refs/heads/". */
  readonly prefix: RefName;
  /** Part of what follows the prefix; "" for all. */
  readonly contains?: RefName | undefined;
  /** The last name of the page before. */
  readonly after?: RefName | undefined;
  readonly limit: number;
}

export interface StoredRef {
  readonly name: RefName;
  readonly oid: ObjectId;
  /** What an annotated tag points to in the end; undefined when the ref is not an annotated tag. */
  readonly peeled: ObjectId | undefined;
}

export interface RefsAtGeneration {
  readonly generation: number;
  /** In bytewise order of name. */
  readonly refs: readonly StoredRef[];
}

/** One ref change as committed; `newOid` undefined is a delete, `oldOid` undefined a create. */
export interface RefChange {
  readonly name: RefName;
  readonly oldOid: ObjectId | undefined;
  readonly newOid: ObjectId | undefined;
  readonly peeled: ObjectId | undefined;
}

export interface RefLogEntry {
  readonly generation: number;
  readonly pushId: string;
  readonly committedMs: number;
  readonly changes: readonly RefChange[];
}

/** A change that a client asks for: the old value is compared, undefined meaning "does not exist". */
export interface RequestedChange extends RefChange {
  /** Whether the replicas found `oldOid` to be an ancestor of `newOid`; undefined when they were not asked. */
  readonly fastForward: boolean | undefined;
  /** Set when something before the commit already refused this one; with `atomic` it refuses all. */
  readonly refusal?: string | undefined;
}

export interface RefCommit {
  readonly repositoryId: string;
  /** Unique; the outcome of an unknown COMMIT is found by it. */
  readonly pushId: string;
  readonly atomic: boolean;
  readonly changes: readonly RequestedChange[];
  /** Nodes that hold every object of this push durably. */
  readonly stagedNodeIds: readonly string[];
  /** By node, the `copyNumber` of the replica that staged it; one that has another by now holds nothing of this push. */
  readonly copies: ReadonlyMap<string, number>;
  /** How many of the staged replicas must be READY at the commit. */
  readonly writeQuorum: number;
  readonly committedMs: number;
  /** Who pushes, for people. */
  readonly actor?: string;
  /** Time that each replica took to have the objects durably, ms by node id; for people. */
  readonly stagedMs?: Readonly<Record<string, number>>;
  /** The latest generation that a replica said it is at, before the commit; the store must not be behind it. */
  readonly seenGeneration: number;
}

export interface RefResult {
  readonly name: RefName;
  /** undefined: accepted; otherwise git's words for the refusal, as in "non-fast-forward". */
  readonly refusal: string | undefined;
}

export type CommitOutcome =
  | {
      readonly kind: "committed";
      readonly generation: number;
      readonly results: readonly RefResult[];
      readonly changes: readonly RefChange[];
      /** Replicas (READY and PREPARING) that staged: they are to apply now. */
      readonly applyNodeIds: readonly string[];
      /** READY until now, marked STALE by this commit. */
      readonly staleNodeIds: readonly string[];
    }
  /** Every change was refused: nothing was written. */
  | { readonly kind: "refused"; readonly results: readonly RefResult[] }
  | { readonly kind: "no-quorum"; readonly stagedReady: number; readonly needed: number }
  | { readonly kind: "repository-gone" }
  /** A replica was seen at a later generation than the store's: nothing was written, and nothing will be (adoption). */
  | { readonly kind: "store-behind"; readonly generation: number; readonly seenGeneration: number };

export interface NodeRegistration {
  readonly id: string;
  readonly url: string;
  readonly bootId: string;
  readonly version: string;
  readonly diskUsage: number;
  readonly diskFreeBytes: number;
  readonly nowMs: number;
  /** Every replica found on the node's disk with the generation that its file records. */
  readonly inventory: readonly { readonly repositoryId: string; readonly generation: number }[];
  /** Whether a node is alive as far as the controller knows, which compares no wall clocks; undefined: it does not know. */
  readonly isAlive: (nodeId: string) => boolean | undefined;
  /** Where that is not known: a node that was heard of within this time. */
  readonly nodeTimeoutMs: number;
}

export type RegistrationOutcome =
  | {
      readonly kind: "registered";
      /** Replicas that the store has on this node and that are not what they should be: now STALE. */
      readonly staleRepositoryIds: readonly string[];
      /** On disk, deleted by a person: to be moved aside. */
      readonly deletedRepositoryIds: readonly string[];
      /** On disk, unknown to the store or placed elsewhere: listed, never deleted on suspicion. */
      readonly orphanRepositoryIds: readonly string[];
      /** On disk at a later generation than the store's. */
      readonly aheadRepositoryIds: readonly string[];
    }
  /** Another identity with this URL is alive; or, with its own id, this identity is alive at another URL. */
  | { readonly kind: "conflict"; readonly otherId: string };

export interface Heartbeat {
  readonly id: string;
  readonly bootId: string;
  readonly diskUsage: number;
  readonly diskFreeBytes: number;
  readonly nowMs: number;
  /** For each processor; absent when the node does not say. */
  readonly loadAverage?: number | undefined;
  /** Of the heartbeat before this one, as the store had it: undefined when there was none. */
  readonly lastHeartbeatMs?: number | undefined;
  /** Sizes of replicas that changed since the last heartbeat. */
  readonly sizes: readonly { readonly repositoryId: string; readonly sizeBytes: number }[];
  /** Replicas that git stumbled over: to be verified soon, those that were verified lately excepted. */
  readonly suspects?: { readonly repositoryIds: readonly string[]; readonly verified: Period } | undefined;
}

/** Refs that a person decided to take over from the replicas. */
export interface RefAdoption {
  readonly repositoryId: string;
  readonly adoptionId: string;
  /** undefined: the store does not have the repository, and `create` says what it shall be. */
  readonly expectedGeneration: number | undefined;
  /** The latest generation that any copy was known to be at: a later one was not looked at. */
  readonly expectedAheadGeneration: number;
  readonly create: Pick<NewRepository, "name" | "objectFormat" | "defaultBranch" | "replicasWanted">;
  /** Above every generation that was seen. */
  readonly generation: number;
  /** From the stored refs to the adopted ones. */
  readonly changes: readonly RefChange[];
  /** Nodes with a copy to believe: they get a replica if they have none. */
  readonly nodeIds: readonly string[];
  /** Nodes whose copy disagrees: to be moved aside and filled anew. */
  readonly refillNodeIds: readonly string[];
  readonly nowMs: number;
}

export interface Lease {
  readonly holder: string;
  /** Grows by one with each change of holder. */
  readonly fencing: number;
  readonly expiresMs: number;
}

export interface Store extends VerificationStore, MoveStore, ActivityStore {
  /** For people: "SQLite", "MariaDB", "MySQL", "PostgreSQL". */
  readonly engine: string;
  /** Runs what is missing of the schema; safe when several controllers start at once. */
  migrate(): Promise<void>;
  /** Resolves when the database answers. */
  ping(): Promise<void>;
  close(): Promise<void>;

  // Repositories
  /** Throws "repository-exists". */
  createRepository(repository: NewRepository): Promise<void>;
  findRepository(name: string): Promise<RepositoryWithReplicas | undefined>;
  getRepository(id: string): Promise<RepositoryWithReplicas | undefined>;
  /** Those of these ids that there are, in no order. */
  getRepositories(ids: readonly string[]): Promise<readonly RepositoryWithReplicas[]>;
  listRepositories(query: RepositoryQuery): Promise<RepositoryPage>;
  /** How many a query without its cursor and limit has. */
  countMatching(query: Pick<RepositoryQuery, "contains" | "state">): Promise<number>;
  /** Throws "repository-not-found" and, for a new name that is taken, "repository-exists". */
  updateRepository(id: string, patch: RepositoryPatch): Promise<Repository>;
  /** Leaves a tombstone, so that nodes that come back later learn of it. Throws "repository-not-found". */
  deleteRepository(id: string, nowMs: number): Promise<readonly Replica[]>;
  /** When a person deleted the repository of this id; undefined when nobody did. */
  deletedMs(id: string): Promise<number | undefined>;

  // Refs
  /** Refs and generation of one moment. Throws "repository-not-found". */
  readRefs(repositoryId: string): Promise<RefsAtGeneration>;
  /** Some of the refs, in bytewise order of name. */
  listRefs(repositoryId: string, query: RefQuery): Promise<readonly StoredRef[]>;
  countRefs(repositoryId: string, prefix: RefName): Promise<number>;
  /** Entries with a generation above `after`, in order, at most `limit`; a gap means that the log was trimmed. */
  readRefLog(repositoryId: string, after: number, limit: number): Promise<readonly RefLogEntry[]>;
  /** The one decision of a push: one transaction that holds the repository's row. */
  commitRefs(commit: RefCommit): Promise<CommitOutcome>;
  /** Drops entries below `keepFrom` up to the first that was not committed before `committedBeforeMs`. */
  trimRefLog(repositoryId: string, keepFrom: number, committedBeforeMs: number): Promise<void>;

  // Replicas
  /** The replicas of these nodes confirmed the refs of `generation` (kept if they have a higher one). */
  recordApplied(repositoryId: string, generation: number, nodeIds: readonly string[]): Promise<void>;
  /** READY or PREPARING becomes STALE; others stay. */
  markStale(repositoryId: string, nodeIds: readonly string[], reason: string, nowMs: number): Promise<void>;
  /** STALE becomes PREPARING, its reason stays; false if it was not STALE. From then on pushes are staged to it. */
  beginCatchUp(repositoryId: string, nodeId: string, nowMs: number): Promise<boolean>;
  /**
   * PREPARING becomes READY, in a transaction that holds the repository's row, if it is still this copy and missed nothing
   * above `fetchedGeneration`; its confirmed generation becomes at least that. False if it must fetch again.
   */
  promoteReplica(copy: ReplicaCopy, fetchedGeneration: number, nowMs: number): Promise<boolean>;
  /** READY, PREPARING or STALE becomes QUARANTINED. */
  quarantineReplica(repositoryId: string, nodeId: string, reason: string, nowMs: number): Promise<void>;
  /** Adds a STALE replica with generation -1; false if the node has one already. */
  addReplica(repositoryId: string, nodeId: string, reason: string, nowMs: number): Promise<boolean>;
  /**
   * Takes a replica out of the store (not off the disk), in a transaction that holds the repository's row, if at
   * least `readyElsewhere` other replicas are READY. False if not.
   */
  removeReplica(repositoryId: string, nodeId: string, readyElsewhere: number, reason?: string): Promise<boolean>;
  /** Repositories that have a replica which is not READY, or more or fewer replicas than wanted; by id after `afterId`. */
  listUnhealthy(afterId: string, limit: number): Promise<readonly RepositoryWithReplicas[]>;
  /** Each replica of a node with its repository's name and default branch, by name. */
  listReplicasOfNode(
    nodeId: string,
    limit?: number,
    /** The last name of the page before. */
    afterName?: string,
  ): Promise<readonly ReplicaOfNode[]>;
  /** Ids of the repositories with a replica on a node, in order, from after `afterId` on. */
  repositoryIdsOfNode(nodeId: string, limit: number, afterId?: string): Promise<readonly string[]>;
  /** Number of replicas by node and state. */
  countReplicas(): Promise<
    readonly { readonly nodeId: string; readonly state: ReplicaState; readonly count: number }[]
  >;

  /** For people: why a STALE or PREPARING replica is not READY yet. */
  noteReason(repositoryId: string, nodeId: string, reason: string): Promise<void>;

  // Nodes
  /**
   * Takes a node in. A replica whose inventory is missing or older than what it had confirmed becomes STALE. A node
   * with a new identity at the URL of a dead one inherits its replicas, all STALE at -1: its disk is not believed. One
   * that is known already takes the URL alone.
   * A replica at a later generation than the store's becomes QUARANTINED: the store has lost something.
   */
  registerNode(registration: NodeRegistration): Promise<RegistrationOutcome>;
  /** False when the node must register again: unknown, another boot id, or an older heartbeat than it was told. */
  recordHeartbeat(heartbeat: Heartbeat): Promise<boolean>;
  listNodes(): Promise<readonly NodeRecord[]>;
  /** Writes the event of a node's death, or of its return, unless it is written. */
  tellNodeLife(id: string, alive: boolean): Promise<void>;
  /**
   * Removes a node and its replica records, in one transaction, unless repositories need it: those with fewer complete
   * replicas elsewhere than wanted; by force, those that would lose their last READY one. Their names come back then.
   * Throws "node-not-found".
   */
  removeNode(id: string, options: { readonly force: boolean }): Promise<readonly string[]>;

  // Recovery
  /** A copy is at `generation`. True if that is later than the store's: QUARANTINED, and no more commits until adopted. */
  noteAhead(repositoryId: string, nodeId: string, generation: number, nowMs: number): Promise<boolean>;
  /** Repositories whose replicas were seen ahead of the store. */
  listBehind(): Promise<readonly RepositoryWithReplicas[]>;
  /** Ids of neither a repository nor a deleted one. */
  unknownRepositories(repositoryIds: readonly string[]): Promise<readonly string[]>;
  /** False when the repository is not as expected any more. All its replicas are STALE then. Throws "repository-exists". */
  adoptRepository(adoption: RefAdoption): Promise<boolean>;

  // Lease
  /**
   * Takes or renews the lease. Of another's, which comes back as it is, it takes only what was given back, or is still exactly
   * `unrenewed`: no two clocks are compared.
   */
  acquireLease(name: string, holder: string, durationMs: number, nowMs: number, unrenewed?: Lease): Promise<Lease>;
  releaseLease(name: string, holder: string): Promise<void>;
  /** Who holds it; undefined when nobody does. */
  leaseHolder(name: string, nowMs: number): Promise<string | undefined>;
}
