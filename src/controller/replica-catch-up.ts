/**
 * Makes a replica READY: has it fetch from a READY one while pushes are staged to it already, then promotes it if it
 * missed nothing since (docs/decisions/0003).
 */
import type { Clock } from "../base/clock.ts";
import { crashPoint } from "../base/crash-point.ts";
import type { Logger } from "../base/log.ts";
import type { ControllerSettings } from "../base/settings.ts";
import { hashOfRefs, nodePaths } from "../protocol/node-api.ts";
import type { ObjectId, RefName } from "../protocol/ref-name.ts";
import type { Replica, ReplicaCopy, RepositoryWithReplicas, Store, StoredRef } from "../store/store.ts";
import type { ReplicaApplier } from "./apply.ts";
import { isLost, type ClusterNode } from "./cluster-node.ts";
import type { Membership } from "./membership.ts";
import { moveAside } from "./moving-aside.ts";
import type { NodeClient } from "./node-client.ts";
import { NodeCallError } from "./node-call-error.ts";
import { routeRead } from "./router.ts";

export interface ReplicaCatchUpDependencies {
  readonly store: Store;
  readonly nodeClient: NodeClient;
  readonly membership: Membership;
  readonly applier: ReplicaApplier;
  readonly settings: ControllerSettings;
  readonly clock: Clock;
  readonly log: Logger;
}

/** How long a damaged replica waits for another to become complete before it is asked to prove that it is whole itself. */
const damagedWaitMs = 60_000;
/** A replica that is not READY after so many fetches is visited again later. */
const roundsMax = 4;

export class ReplicaCatchUp {
  readonly #deps: ReplicaCatchUpDependencies;
  #turn = 0;

  constructor(deps: ReplicaCatchUpDependencies) {
    this.#deps = deps;
  }

  /**
   * `onProgress` gets git's words while it fetches. Resolves when the replica is READY, is no longer to be filled
   * (deleted, removed, QUARANTINED), or missed pushes during every fetch: then the next visit goes on. Throws with the
   * reason when it could not be filled now.
   */
  async run(
    repositoryId: string,
    nodeId: string,
    signal: AbortSignal,
    onProgress: (text: string) => void = () => {},
  ): Promise<void> {
    const { store, clock } = this.#deps;
    for (let round = 0; round < roundsMax; round += 1) {
      signal.throwIfAborted();
      const found = await store.getRepository(repositoryId);
      const replica = found?.replicas.find((candidate) => candidate.nodeId === nodeId);
      if (found === undefined || replica === undefined) return;
      if (replica.state === "READY" || replica.state === "QUARANTINED") return;
      if (replica.damaged) {
        if (await this.#moveDamagedAside(found, replica)) continue;
        if (this.#anotherMayCome(found, replica)) throw new Error("no other replica to fill it from is complete yet");
      }
      if (replica.state === "STALE" && !(await store.beginCatchUp(repositoryId, nodeId, clock.nowMs()))) continue;
      // Read after the replica became PREPARING: whatever is committed from here on is staged to it, or noted as missed.
      const { generation, refs } = await store.readRefs(repositoryId);
      crashPoint("repair.filling");
      await this.#fetch(found, replica, generation, refs, signal, onProgress);
      crashPoint("repair.filled");
      await this.#deps.applier.applyFromLog(repositoryId, nodeId, generation);
      if (await store.promoteReplica(replica, generation, clock.nowMs())) {
        crashPoint("repair.promoted");
        this.#deps.log.info({ repository: found.repository.name, nodeId, generation }, "replica is READY");
        return;
      }
    }
    this.#deps.log.info({ repositoryId, nodeId, rounds: roundsMax }, "replica missed pushes while it caught up");
  }

  /**
   * Nothing of a damaged copy is used, as long as there is another to fill it from. Done twice (after a crash in between,
   * by two controllers) it changes nothing more.
   */
  async #moveDamagedAside({ repository, replicas }: RepositoryWithReplicas, damaged: Replica): Promise<boolean> {
    const { membership, nodeClient, store, clock } = this.#deps;
    const { nodeId } = damaged;
    const node = membership.get(nodeId);
    const others = replicas.filter((replica) => replica.nodeId !== nodeId);
    if (node === undefined || routeRead(others, membership.nodes(), 0).candidates.length === 0) return false;
    const isUnwanted = async (): Promise<boolean> => {
      const found = await store.getRepository(repository.id);
      return found?.replicas.some((replica) => isSameCopy(replica, damaged) && replica.damaged) === true;
    };
    const copy = { url: node.url, repositoryId: repository.id, reason: "damaged", isUnwanted };
    if (await moveAside(nodeClient, copy)) await store.recordMovedAside(damaged, clock.nowMs());
    return true;
  }

  /** Others are being filled or proved complete just now: what is in a damaged copy is not used before that had its time. */
  #anotherMayCome({ replicas }: RepositoryWithReplicas, { nodeId, stateSinceMs }: Replica): boolean {
    const { membership, clock } = this.#deps;
    const sinceMs = clock.nowMs() - stateSinceMs;
    return (
      // A time to come was written by a clock that was wrong.
      sinceMs >= 0 &&
      sinceMs < damagedWaitMs &&
      replicas.some(
        (other) =>
          other.nodeId !== nodeId &&
          !other.damaged &&
          other.state !== "QUARANTINED" &&
          membership.get(other.nodeId)?.alive === true,
      )
    );
  }

  /** A copy that cannot be filled up may be damaged itself: then it is to be filled anew the next time. */
  async #judgeCopy(replica: Replica, node: ClusterNode, signal: AbortSignal): Promise<void> {
    const { nodeClient, store, clock, log } = this.#deps;
    const { repositoryId } = replica;
    const request = { generation: 0, refsHash: hashOfRefs([]), objects: true };
    const result = await nodeClient.verify(node.url, repositoryId, request, signal);
    if (result.kind !== "verified" || result.problems.length === 0) return;
    const reason = `damaged: ${result.problems.join("; ")}`.slice(0, 1000);
    const outcome = await store.markDamaged(replica, reason, clock.nowMs(), { byHand: false });
    log.error({ repositoryId, nodeId: node.id, reason, outcome }, "a replica that cannot catch up is damaged");
  }

  async #fetch(
    { repository, replicas }: RepositoryWithReplicas,
    replica: Replica,
    generation: number,
    refs: readonly StoredRef[],
    signal: AbortSignal,
    onProgress: (text: string) => void,
  ): Promise<void> {
    const { store, nodeClient, membership, settings, log } = this.#deps;
    const { nodeId, damaged } = replica;
    const node = membership.get(nodeId);
    const others = replicas.filter((other) => other.nodeId !== nodeId);
    const route = routeRead(others, membership.nodes(), this.#turn++);
    const [source] = route.candidates;
    if (node === undefined) throw new Error("its repository server is gone");
    // With a READY replica that cannot be reached just now, waiting is better than a proof that may fail.
    const someMayReturn = others.some(
      (other) => other.state === "READY" && !isLost(membership.get(other.nodeId), settings.repairGraceMs),
    );
    if (source === undefined && someMayReturn) throw new Error(route.reason);
    const { id, name, objectFormat, defaultBranch, description } = repository;
    const header = {
      replica: { id, name, objectFormat, defaultBranch, description },
      generation,
      sourceUrl: source === undefined ? null : source.url + nodePaths.git(id),
      damaged,
    };
    log.info({ repository: name, nodeId, source: source?.nodeId, generation }, "replica catches up");
    const release = source === undefined ? () => {} : membership.track(source.nodeId);
    try {
      const result = await nodeClient.catchUp(node.url, header, pairs(refs), onProgress, signal);
      if (result.kind === "caught-up") return;
      if (source !== undefined) {
        // READY, and without what it must have: it is to be looked at before it is needed.
        if (result.sourceFailed === true) await store.requestVerification(source.nodeId, [id], undefined);
        await this.#judgeCopy(replica, node, signal);
      }
      throw new Error(result.message);
    } catch (error) {
      if (error instanceof NodeCallError && error.unreachable && !signal.aborted)
        membership.reportFailure(nodeId, error);
      throw error;
    } finally {
      release();
    }
  }
}

function* pairs(refs: readonly StoredRef[]): Generator<readonly [RefName, ObjectId]> {
  for (const { name, oid } of refs) yield [name, oid];
}

function isSameCopy(one: ReplicaCopy, other: ReplicaCopy): boolean {
  return one.nodeId === other.nodeId && one.copyNumber === other.copyNumber;
}
