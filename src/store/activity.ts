/**
 * What the store remembers for people: events, who pushed, work under way, samples for charts. Nothing that the cluster
 * decides rests on it.
 */
import type { EventKind, WorkView } from "../protocol/activity-api.ts";
import type { ObjectId, RefName } from "../protocol/ref-name.ts";

/** What happened. Past tense, subject first. */
export type { EventKind } from "../protocol/activity-api.ts";

export interface NewEvent {
  readonly kind: EventKind;
  /** Absent when it is about no repository. */
  readonly repository?: { readonly id: string; readonly name: string };
  /** Absent when it is about no node. */
  readonly nodeId?: string;
  /** A reason, an old name, a URL: what is not in the other fields, for people. */
  readonly detail?: string;
}

export interface ClusterEvent {
  /** Grows with time; as two transactions may commit in another order than they began, see readEventsAfter. */
  readonly id: number;
  readonly atMs: number;
  readonly kind: EventKind;
  /** "" when it is about none. */
  readonly repositoryId: string;
  /** As it was called then. */
  readonly repositoryName: string;
  readonly nodeId: string;
  readonly detail: string;
}

export interface EventQuery {
  /** Events below this id; the newest without it. */
  readonly before?: number | undefined;
  readonly kinds?: readonly EventKind[] | undefined;
  readonly repositoryId?: string | undefined;
  readonly nodeId?: string | undefined;
  readonly limit: number;
}

/** `oldOid` undefined is a create, `newOid` undefined a delete. */
export interface PushedRef {
  readonly name: RefName;
  readonly oldOid: ObjectId | undefined;
  readonly newOid: ObjectId | undefined;
}

/** A committed push with what is told of it to people. */
export interface PushRecord {
  readonly generation: number;
  readonly pushId: string;
  readonly committedMs: number;
  /** Who pushed, as far as it is known. */
  readonly actor: string;
  /** The first ones of a large push. */
  readonly refs: readonly PushedRef[];
  /** Time that each replica took to have the objects durably, ms by node id. */
  readonly stagedMs: Readonly<Record<string, number>>;
}

export interface PushedRepository {
  readonly id: string;
  readonly name: string;
  readonly generation: number;
  readonly pushedMs: number;
}

export type WorkKind = WorkView["kind"];

/** A step of the background repair, under way or failed. */
export interface WorkRecord {
  readonly repositoryId: string;
  readonly nodeId: string;
  readonly repositoryName: string;
  readonly kind: WorkKind;
  readonly state: "running" | "failed";
  readonly startedMs: number;
  readonly updatedMs: number;
  /** Done part, 0 to 1; -1 when it is not known. */
  readonly progress: number;
  /** What is going on, or why it failed. */
  readonly detail: string;
  /** Failures in a row. */
  readonly failures: number;
}

/** Numbers of one subject in a short time from `startMs` on, as JSON text; who writes them knows what they are. */
export interface Sample {
  readonly startMs: number;
  /** A controller's start, or a node's id. */
  readonly subject: string;
  readonly numbers: string;
}

/** Whose samples: those that begin with `prefix`, and the one. */
export interface SampleSubjects {
  readonly prefix: string;
  readonly subject?: string;
}

/** All repositories in a few numbers. */
export interface RepositoryCounts {
  readonly total: number;
  /** With fewer READY replicas than wanted. */
  readonly degraded: number;
  /** That have lost pushes which their replicas have: they are to be adopted. */
  readonly behind: number;
  /** Replicas that one wants, at least and at most; 0 when there is none. */
  readonly wantedLeast: number;
  readonly wantedMost: number;
}

export interface ActivityStore {
  countRepositories(): Promise<RepositoryCounts>;

  // Events
  addEvent(event: NewEvent): Promise<void>;
  /** Newest first. */
  listEvents(query: EventQuery): Promise<readonly ClusterEvent[]>;
  /** Id of the repository that had this name last, of those that events tell of; a deleted one too. */
  repositoryIdInEvents(name: string): Promise<string | undefined>;
  /**
   * Events above `after`, in order of id. Ids are given before they are committed: a lower one may appear later, and
   * some never do.
   */
  readEventsAfter(after: number, limit: number): Promise<readonly ClusterEvent[]>;
  /** 0 when there is none. */
  newestEventId(): Promise<number>;
  /** Drops events from before `beforeMs`, and all but the newest `keepMax`. */
  trimEvents(beforeMs: number, keepMax: number): Promise<void>;

  // Pushes
  /** The last ones of the ref log, newest first. */
  listPushes(repositoryId: string, limit: number): Promise<readonly PushRecord[]>;
  /** Repositories whose last push was at `sinceMs` or later, newest first. */
  listPushedSince(sinceMs: number, limit: number): Promise<readonly PushedRepository[]>;

  // Work
  saveWork(work: WorkRecord): Promise<void>;
  removeWork(repositoryId: string, nodeId: string): Promise<void>;
  /** What is running first, then what failed; of each, last changed first. */
  listWork(limit: number): Promise<readonly WorkRecord[]>;
  /** Drops what has not changed since `beforeMs`. */
  trimWork(beforeMs: number): Promise<void>;

  // Samples
  /** Replaces what the subject had from that time on. */
  saveSamples(samples: readonly Sample[]): Promise<void>;
  listSamples(sinceMs: number, subjects: SampleSubjects): Promise<readonly Sample[]>;
  trimSamples(beforeMs: number): Promise<void>;
}
