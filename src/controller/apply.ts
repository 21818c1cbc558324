/**
 * Brings replicas' own refs up to a generation: with a push's changes, or from the ref log when a replica missed some.
 * Refs on a replica are a copy; the store has the truth, and applying twice is safe.
 */
import type { Clock } from "../base/clock.ts";
import { crashPoint } from "../base/crash-point.ts";
import type { Logger } from "../base/log.ts";
import type { RefUpdate } from "../protocol/node-api.ts";
import type { RefChange, RefLogEntry, Store } from "../store/store.ts";
import type { Membership } from "./membership.ts";
import type { NodeClient } from "./node-client.ts";
import { NodeCallError } from "./node-call-error.ts";

/** Entries of the ref log sent in one go. */
const logEntriesMax = 1000;

export interface ReplicaApplierDependencies {
  readonly store: Store;
  readonly nodeClient: NodeClient;
  readonly membership: Membership;
  readonly clock: Clock;
  readonly log: Logger;
  /** Longest time for one replica to confirm, ms. */
  readonly applyMs: number;
}

export interface CommittedChanges {
  readonly generation: number;
  readonly changes: readonly RefChange[];
  readonly applyNodeIds: readonly string[];
}

export class ReplicaApplier {
  readonly #deps: ReplicaApplierDependencies;

  constructor(deps: ReplicaApplierDependencies) {
    this.#deps = deps;
  }

  /** Applies a commit on its staged replicas at once, records who confirmed, and returns the nodes that did not. */
  async applyCommit(repositoryId: string, commit: CommittedChanges): Promise<readonly string[]> {
    const updates = updatesOf([commit.changes]);
    const confirmed: string[] = [];
    const unconfirmed: string[] = [];
    await Promise.all(
      commit.applyNodeIds.map(async (nodeId) => {
        const done = await this.#applyOne(repositoryId, nodeId, commit.generation - 1, commit.generation, updates);
        (done ? confirmed : unconfirmed).push(nodeId);
        crashPoint("push.node-applied");
      }),
    );
    crashPoint("push.nodes-applied");
    if (confirmed.length > 0) await this.#deps.store.recordApplied(repositoryId, commit.generation, confirmed);
    return unconfirmed;
  }

  /**
   * Brings a replica from `replicaGeneration` to the newest of the ref log. Returns the generation that it confirmed,
   * or undefined when the log no longer reaches back that far, the replica missed something of it, or the node failed.
   */
  async applyFromLog(repositoryId: string, nodeId: string, replicaGeneration: number): Promise<number | undefined> {
    let base = replicaGeneration;
    for (;;) {
      const entries = await this.#entriesFor(repositoryId, nodeId, base);
      if (entries === undefined) return undefined;
      const last = entries.at(-1);
      if (last === undefined) return base;
      const updates = updatesOf(entries.map((entry) => entry.changes));
      if (!(await this.#applyOne(repositoryId, nodeId, base, last.generation, updates))) return undefined;
      crashPoint("apply.log-applied");
      await this.#deps.store.recordApplied(repositoryId, last.generation, [nodeId]);
      base = last.generation;
    }
  }

  /**
   * What a replica at generation `after` is to apply next. Undefined when the log does not reach back that far, or when
   * the replica did not stage all of it: refs that vouch for objects that are not there would keep them from being fetched.
   */
  async #entriesFor(repositoryId: string, nodeId: string, after: number): Promise<readonly RefLogEntry[] | undefined> {
    if (after < 0) return undefined;
    const { store } = this.#deps;
    const entries = await store.readRefLog(repositoryId, after, logEntriesMax);
    const [first] = entries;
    if (first === undefined) return entries;
    if (first.generation !== after + 1) return undefined;
    // After the log: who missed a push is written together with it.
    const found = await store.getRepository(repositoryId);
    const replica = found?.replicas.find((candidate) => candidate.nodeId === nodeId);
    return replica === undefined || replica.missedGeneration > after ? undefined : entries;
  }

  /**
   * Later pushes may have come first; but a replica beyond the store itself shows that the store has lost something,
   * as after the restore of an old backup. Such a replica is kept as it is, for a person.
   */
  async #isAhead(repositoryId: string, nodeId: string, generation: number): Promise<boolean> {
    const { store, clock, log } = this.#deps;
    if (!(await store.noteAhead(repositoryId, nodeId, generation, clock.nowMs()))) return false;
    log.error({ repositoryId, nodeId, generation }, "a replica is ahead of the metadata store");
    return true;
  }

  async #applyOne(
    repositoryId: string,
    nodeId: string,
    base: number,
    generation: number,
    updates: RefUpdate[],
  ): Promise<boolean> {
    const { membership, nodeClient, clock, applyMs } = this.#deps;
    const node = membership.get(nodeId);
    if (node === undefined) return false;
    const endMs = clock.monotonicMs() + applyMs;
    let request = { base, generation, updates };
    let leftMs = applyMs;
    try {
      for (;;) {
        if (leftMs <= 0) return false;
        const outcome = await nodeClient.apply(node.url, repositoryId, request, leftMs);
        if (outcome.generation === generation) return true;
        if (outcome.generation > generation) return !(await this.#isAhead(repositoryId, nodeId, outcome.generation));
        // It has not seen the pushes before this one: send what is between, the newest value of each ref.
        const entries = await this.#entriesFor(repositoryId, nodeId, outcome.generation);
        const last = entries?.at(-1);
        if (entries === undefined || last === undefined) return false;
        const missed = updatesOf(entries.map((entry) => entry.changes));
        crashPoint("apply.gap-read");
        request = { base: outcome.generation, generation: last.generation, updates: missed };
        leftMs = Math.ceil(endMs - clock.monotonicMs());
      }
    } catch (error) {
      // That a rest of the time was too short says nothing against the node.
      const hadAllTheTime = leftMs === applyMs;
      if (error instanceof NodeCallError && error.unreachable && hadAllTheTime) membership.reportFailure(nodeId, error);
      return false;
    }
  }
}

/** The newest value of each ref over successive changes. */
function updatesOf(successive: readonly (readonly RefChange[])[]): RefUpdate[] {
  const newest = new Map<string, string | null>();
  for (const changes of successive) {
    for (const change of changes) newest.set(change.name, change.newOid ?? null);
  }
  return [...newest];
}
