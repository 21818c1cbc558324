/** What the contract's tests build on. Tests share one database: each makes its own repositories and nodes. */
import assert from "node:assert/strict";
import { v7 as uuid } from "uuid";
import { GitmeshError, type ErrorCode } from "../../base/errors.ts";
import type { ObjectId, RefName } from "../../protocol/ref-name.ts";
import type { ClusterEvent } from "../activity.ts";
import type {
  CommitOutcome,
  NewRepository,
  NodeRegistration,
  RefCommit,
  Replica,
  Repository,
  RequestedChange,
  Store,
  ReplicaCopy,
} from "../store.ts";

export interface StoreFactory {
  /** One more store on the same migrated database; the suite closes it. */
  open(): Promise<Store>;
  /** One more store on `database`, an empty one of that name, not migrated; undefined where stores cannot share one. */
  readonly openFresh: ((database: string) => Promise<Store>) | undefined;
}

export const branch = "refs/heads/master";

/** Object ids for tests: 1 is 000...1. */
export function oid(number: number): ObjectId {
  return number.toString(16).padStart(40, "0");
}

export function newRepository(more: Partial<NewRepository> = {}): NewRepository {
  const id = uuid();
  return {
    id,
    name: `r-${id}`,
    objectFormat: "sha1",
    defaultBranch: branch,
    description: "",
    replicasWanted: 3,
    createdMs: 1000,
    placements: ["n1", "n2", "n3"].map((nodeId) => ({ nodeId, created: true })),
    ...more,
  };
}

/** Made, with three READY replicas on n1, n2 and n3 unless told otherwise. */
export async function repositoryIn(store: Store, more: Partial<NewRepository> = {}): Promise<Repository> {
  const repository = newRepository(more);
  await store.createRepository(repository);
  const found = await store.getRepository(repository.id);
  assert.ok(found !== undefined);
  return found.repository;
}

export function change(
  name: RefName,
  oldOid?: ObjectId,
  newOid?: ObjectId,
  more: Partial<RequestedChange> = {},
): RequestedChange {
  return { name, oldOid, newOid, peeled: undefined, fastForward: undefined, ...more };
}

export function commitOf(
  repositoryId: string,
  changes: readonly RequestedChange[],
  more: Partial<RefCommit> = {},
): RefCommit {
  return {
    repositoryId,
    pushId: uuid(),
    atomic: false,
    changes,
    stagedNodeIds: ["n1", "n2", "n3"],
    copies: new Map(),
    seenGeneration: -1,
    writeQuorum: 2,
    committedMs: 2000,
    ...more,
  };
}

/** Commits and expects it to be committed. */
export async function committed(
  store: Store,
  commit: RefCommit,
): Promise<Extract<CommitOutcome, { readonly kind: "committed" }>> {
  const outcome = await store.commitRefs(commit);
  assert.equal(outcome.kind, "committed", JSON.stringify(outcome));
  return outcome;
}

export async function replicaIn(store: Store, repositoryId: string, nodeId: string): Promise<Replica> {
  const found = await store.getRepository(repositoryId);
  const replica = found?.replicas.find((each) => each.nodeId === nodeId);
  assert.ok(replica !== undefined, `no replica on ${nodeId}`);
  return replica;
}

export function registrationOf(more: Partial<NodeRegistration> = {}): NodeRegistration {
  const id = uuid();
  return {
    id,
    url: `http://${id}:8082`,
    bootId: "boot-1",
    version: "0.1.0",
    diskUsage: 0.25,
    diskFreeBytes: 5_000_000_000_000,
    nowMs: 10_000,
    inventory: [],
    nodeTimeoutMs: 5000,
    isAlive: () => undefined,
    ...more,
  };
}

export async function rejectsWith(promise: Promise<unknown>, code: ErrorCode): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof GitmeshError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  });
}

/** The copy that is there now; of one that is not there, some. */
export async function copyIn(store: Store, repositoryId: string, nodeId: string): Promise<ReplicaCopy> {
  const found = await store.getRepository(repositoryId);
  const replica = found?.replicas.find((candidate) => candidate.nodeId === nodeId);
  return { repositoryId, nodeId, copyNumber: replica?.copyNumber ?? 0 };
}

/** Of a repository, in the order in which they happened. */
export async function eventsIn(store: Store, repositoryId: string): Promise<readonly ClusterEvent[]> {
  return (await store.listEvents({ repositoryId, limit: 100 })).toReversed();
}

export async function eventKindsIn(store: Store, repositoryId: string): Promise<string[]> {
  return (await eventsIn(store, repositoryId)).map(({ kind }) => kind);
}
