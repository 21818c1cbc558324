/** The store over SQL: each method is one call of the part that it belongs to. Built by open-store.ts. */
import { sql } from "kysely";
import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/log.ts";
import type { RefName } from "../../protocol/ref-name.ts";
import type {
  ClusterEvent,
  EventQuery,
  NewEvent,
  PushedRepository,
  PushRecord,
  RepositoryCounts,
  Sample,
  SampleSubjects,
  WorkRecord,
} from "../activity.ts";
import type {
  CommitOutcome,
  Heartbeat,
  Lease,
  NewRepository,
  NodeRecord,
  NodeRegistration,
  RefAdoption,
  RefCommit,
  RefLogEntry,
  RefQuery,
  RefsAtGeneration,
  RegistrationOutcome,
  Replica,
  ReplicaCopy,
  ReplicaState,
  ReplicaOfNode,
  Repository,
  RepositoryPage,
  RepositoryPatch,
  RepositoryQuery,
  RepositoryWithReplicas,
  Store,
  StoredRef,
} from "../store.ts";
import type { LeavingPosition, LeavingReplica } from "../moves.ts";
import type { DamageOutcome, NextToVerify, Period, VerificationProgress } from "../verification.ts";
import { Adoptions } from "./adoption.ts";
import { Database, type DatabaseOptions } from "./database.ts";
import type { Engine } from "./engine.ts";
import { Events } from "./events.ts";
import { Leases } from "./leases.ts";
import { migrate } from "./migrate.ts";
import { Nodes } from "./nodes.ts";
import { RefLog } from "./ref-log.ts";
import { RefTransaction } from "./ref-transaction.ts";
import { Refs } from "./refs.ts";
import { Registrations } from "./registration.ts";
import { Replicas } from "./replicas.ts";
import { Repositories } from "./repositories.ts";
import { RepositoryPages } from "./repository-pages.ts";
import { Samples } from "./samples.ts";
import { Work } from "./work.ts";
import { Verification } from "./verification.ts";

export class SqlStore implements Store {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #log: Logger | undefined;
  readonly #repositories: Repositories;
  readonly #pages: RepositoryPages;
  readonly #refs: Refs;
  readonly #refLog: RefLog;
  readonly #refTransaction: RefTransaction;
  readonly #replicas: Replicas;
  readonly #nodes: Nodes;
  readonly #registrations: Registrations;
  readonly #adoptions: Adoptions;
  readonly #leases: Leases;
  readonly #events: Events;
  readonly #work: Work;
  readonly #samples: Samples;
  readonly #verification: Verification;

  constructor(engine: Engine, clock: Clock, options: DatabaseOptions) {
    this.#database = new Database(engine, clock, options);
    this.#clock = clock;
    this.#log = options.log;
    this.#events = new Events(this.#database, clock);
    this.#work = new Work(this.#database);
    this.#samples = new Samples(this.#database);
    this.#repositories = new Repositories(this.#database, this.#events);
    this.#pages = new RepositoryPages(this.#database);
    this.#refs = new Refs(this.#database, clock);
    this.#refLog = new RefLog(this.#database);
    this.#refTransaction = new RefTransaction(this.#database, this.#events);
    this.#replicas = new Replicas(this.#database, this.#events);
    this.#verification = new Verification(this.#database, this.#events);
    this.#nodes = new Nodes(this.#database, this.#verification, this.#events);
    this.#registrations = new Registrations(this.#database, this.#events);
    this.#adoptions = new Adoptions(this.#database, this.#pages, this.#events);
    this.#leases = new Leases(this.#database);
  }

  get engine(): string {
    return this.#database.engine.name;
  }

  async migrate(): Promise<void> {
    await migrate(this.#database, this.#clock, this.#log);
    await this.#database.forgetOperations();
  }

  async ping(): Promise<void> {
    await this.#database.read((db) => sql`select 1`.execute(db));
  }

  close(): Promise<void> {
    return this.#database.close();
  }

  createRepository(repository: NewRepository): Promise<void> {
    return this.#repositories.create(repository);
  }

  findRepository(name: string): Promise<RepositoryWithReplicas | undefined> {
    return this.#repositories.find(name);
  }

  getRepository(id: string): Promise<RepositoryWithReplicas | undefined> {
    return this.#repositories.get(id);
  }

  getRepositories(ids: readonly string[]): Promise<readonly RepositoryWithReplicas[]> {
    return this.#pages.getAll(ids);
  }

  listRepositories(query: RepositoryQuery): Promise<RepositoryPage> {
    return this.#pages.list(query);
  }

  countMatching(query: Pick<RepositoryQuery, "contains" | "state">): Promise<number> {
    return this.#pages.countMatching(query);
  }

  updateRepository(id: string, patch: RepositoryPatch): Promise<Repository> {
    return this.#repositories.update(id, patch);
  }

  deleteRepository(id: string, nowMs: number): Promise<readonly Replica[]> {
    return this.#repositories.delete(id, nowMs);
  }

  deletedMs(id: string): Promise<number | undefined> {
    return this.#repositories.deletedMs(id);
  }

  countRepositories(): Promise<RepositoryCounts> {
    return this.#repositories.count();
  }

  readRefs(repositoryId: string): Promise<RefsAtGeneration> {
    return this.#refs.readAll(repositoryId);
  }

  listRefs(repositoryId: string, query: RefQuery): Promise<readonly StoredRef[]> {
    return this.#refs.list(repositoryId, query);
  }

  countRefs(repositoryId: string, prefix: RefName): Promise<number> {
    return this.#refs.count(repositoryId, prefix);
  }

  readRefLog(repositoryId: string, after: number, limit: number): Promise<readonly RefLogEntry[]> {
    return this.#refLog.read(repositoryId, after, limit);
  }

  commitRefs(commit: RefCommit): Promise<CommitOutcome> {
    return this.#refTransaction.commit(commit);
  }

  trimRefLog(repositoryId: string, keepFrom: number, committedBeforeMs: number): Promise<void> {
    return this.#refLog.trim(repositoryId, keepFrom, committedBeforeMs);
  }

  recordApplied(repositoryId: string, generation: number, nodeIds: readonly string[]): Promise<void> {
    return this.#replicas.recordApplied(repositoryId, generation, nodeIds);
  }

  markStale(repositoryId: string, nodeIds: readonly string[], reason: string, nowMs: number): Promise<void> {
    return this.#replicas.markStale(repositoryId, nodeIds, reason, nowMs);
  }

  beginCatchUp(repositoryId: string, nodeId: string, nowMs: number): Promise<boolean> {
    return this.#replicas.beginCatchUp(repositoryId, nodeId, nowMs);
  }

  promoteReplica(copy: ReplicaCopy, fetchedGeneration: number, nowMs: number): Promise<boolean> {
    return this.#replicas.promote(copy, fetchedGeneration, nowMs);
  }

  quarantineReplica(repositoryId: string, nodeId: string, reason: string, nowMs: number): Promise<void> {
    return this.#replicas.quarantine(repositoryId, nodeId, reason, nowMs);
  }

  addReplica(repositoryId: string, nodeId: string, reason: string, nowMs: number): Promise<boolean> {
    return this.#replicas.add(repositoryId, nodeId, reason, nowMs);
  }

  removeReplica(repositoryId: string, nodeId: string, readyElsewhere: number, reason = ""): Promise<boolean> {
    return this.#replicas.remove(repositoryId, nodeId, readyElsewhere, reason);
  }

  moveReplica(repositoryId: string, fromNodeId: string, toNodeId: string | undefined, nowMs: number): Promise<boolean> {
    return this.#replicas.move(repositoryId, fromNodeId, toNodeId, nowMs);
  }

  cancelMove(repositoryId: string, nodeId: string): Promise<boolean> {
    return this.#replicas.cancelMove(repositoryId, nodeId);
  }

  listLeaving(limit: number, after?: LeavingPosition): Promise<readonly LeavingReplica[]> {
    return this.#replicas.listLeaving(limit, after);
  }

  leavingOf(repositoryIds: readonly string[]): Promise<readonly LeavingReplica[]> {
    return this.#replicas.leavingOf(repositoryIds);
  }

  listUnhealthy(afterId: string, limit: number): Promise<readonly RepositoryWithReplicas[]> {
    return this.#pages.listUnhealthy(afterId, limit);
  }

  listReplicasOfNode(nodeId: string, limit?: number, afterName?: string): Promise<readonly ReplicaOfNode[]> {
    return this.#replicas.listOfNode(nodeId, limit, afterName);
  }

  repositoryIdsOfNode(nodeId: string, limit: number, afterId = ""): Promise<readonly string[]> {
    return this.#replicas.repositoryIdsOfNode(nodeId, limit, afterId);
  }

  countReplicas(): Promise<
    readonly { readonly nodeId: string; readonly state: ReplicaState; readonly count: number }[]
  > {
    return this.#replicas.countByState();
  }

  noteReason(repositoryId: string, nodeId: string, reason: string): Promise<void> {
    return this.#replicas.noteReason(repositoryId, nodeId, reason);
  }

  recordVerified(copy: ReplicaCopy, nowMs: number): Promise<void> {
    return this.#verification.recordVerified(copy, nowMs);
  }

  requestVerification(nodeId: string, repositoryIds: readonly string[], verified: Period | undefined): Promise<void> {
    return this.#verification.request(nodeId, repositoryIds, verified);
  }

  nextToVerify(
    nodeId: string,
    verified: Period,
    exceptRepositoryIds: readonly string[],
  ): Promise<NextToVerify | undefined> {
    return this.#verification.next(nodeId, verified, exceptRepositoryIds);
  }

  verificationProgress(verified: Period): Promise<VerificationProgress> {
    return this.#verification.progress(verified);
  }

  markDamaged(
    copy: ReplicaCopy,
    reason: string,
    nowMs: number,
    options: { readonly byHand: boolean },
  ): Promise<DamageOutcome> {
    return this.#verification.markDamaged(copy, reason, nowMs, options);
  }

  recordMovedAside(copy: ReplicaCopy, nowMs: number): Promise<void> {
    return this.#verification.recordMovedAside(copy, nowMs);
  }

  async registerNode(registration: NodeRegistration): Promise<RegistrationOutcome> {
    const outcome = await this.#registrations.register(registration);
    if (outcome.kind === "conflict") return outcome;
    return { ...outcome, aheadRepositoryIds: await this.#adoptions.noteInventory(registration) };
  }

  recordHeartbeat(heartbeat: Heartbeat): Promise<boolean> {
    return this.#nodes.recordHeartbeat(heartbeat);
  }

  listNodes(): Promise<readonly NodeRecord[]> {
    return this.#nodes.list();
  }

  setDraining(id: string, draining: boolean): Promise<void> {
    return this.#nodes.setDraining(id, draining);
  }

  tellNodeLife(id: string, alive: boolean): Promise<void> {
    return this.#nodes.tellLife(id, alive);
  }

  removeNode(id: string, options: { readonly force: boolean }): Promise<readonly string[]> {
    return this.#nodes.remove(id, options);
  }

  noteAhead(repositoryId: string, nodeId: string, generation: number, nowMs: number): Promise<boolean> {
    return this.#adoptions.noteAhead(repositoryId, nodeId, generation, nowMs);
  }

  listBehind(): Promise<readonly RepositoryWithReplicas[]> {
    return this.#adoptions.listBehind();
  }

  unknownRepositories(repositoryIds: readonly string[]): Promise<readonly string[]> {
    return this.#adoptions.unknown(repositoryIds);
  }

  adoptRepository(adoption: RefAdoption): Promise<boolean> {
    return this.#adoptions.adopt(adoption);
  }

  acquireLease(name: string, holder: string, durationMs: number, nowMs: number, unrenewed?: Lease): Promise<Lease> {
    return this.#leases.acquire(name, holder, durationMs, nowMs, unrenewed);
  }

  releaseLease(name: string, holder: string): Promise<void> {
    return this.#leases.release(name, holder);
  }

  addEvent(event: NewEvent): Promise<void> {
    return this.#events.add(event);
  }

  listEvents(query: EventQuery): Promise<readonly ClusterEvent[]> {
    return this.#events.list(query);
  }

  repositoryIdInEvents(name: string): Promise<string | undefined> {
    return this.#events.repositoryIdOf(name);
  }

  readEventsAfter(after: number, limit: number): Promise<readonly ClusterEvent[]> {
    return this.#events.readAfter(after, limit);
  }

  newestEventId(): Promise<number> {
    return this.#events.newestId();
  }

  trimEvents(beforeMs: number, keepMax: number): Promise<void> {
    return this.#events.trim(beforeMs, keepMax);
  }

  listPushes(repositoryId: string, limit: number): Promise<readonly PushRecord[]> {
    return this.#refLog.listPushes(repositoryId, limit);
  }

  listPushedSince(sinceMs: number, limit: number): Promise<readonly PushedRepository[]> {
    return this.#pages.listPushedSince(sinceMs, limit);
  }

  saveWork(work: WorkRecord): Promise<void> {
    return this.#work.save(work);
  }

  removeWork(repositoryId: string, nodeId: string): Promise<void> {
    return this.#work.remove(repositoryId, nodeId);
  }

  listWork(limit: number): Promise<readonly WorkRecord[]> {
    return this.#work.list(limit);
  }

  trimWork(beforeMs: number): Promise<void> {
    return this.#work.trim(beforeMs);
  }

  saveSamples(samples: readonly Sample[]): Promise<void> {
    return this.#samples.save(samples);
  }

  listSamples(sinceMs: number, subjects: SampleSubjects): Promise<readonly Sample[]> {
    return this.#samples.list(sinceMs, subjects);
  }

  trimSamples(beforeMs: number): Promise<void> {
    return this.#samples.trim(beforeMs);
  }

  leaseHolder(name: string, nowMs: number): Promise<string | undefined> {
    return this.#leases.holder(name, nowMs);
  }
}
