/**
 * Makes a replica READY: has it fetch from a READY one while pushes are staged to it already, then promotes it if it
 * missed nothing since (docs/decisions/0003).
 */
import type { Clock } from "../base/clock.ts";
import { crashPoint } from "../base/crash-point.ts";
import type { Logger } from "../base/log.ts";
import { hashOfRefs, nodePaths } from "../protocol/node-api.ts";
import type { ObjectId, RefName } from "../protocol/ref-name.ts";
import type { Replica, RepositoryWithReplicas, Store, StoredRef } from "../store/store.ts";
import type { ReplicaApplier } from "./apply.ts";
import type { ClusterNode } from "./cluster-node.ts";
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
        if (await this.#moveDamagedAside(found, nodeId)) continue;
        if (this.#anotherMayCome(found, replica)) throw new Error("no other replica to fill it from is complete yet");
      }
      if (replica.state === "STALE" && !(await store.beginCatchUp(repositoryId, nodeId, clock.nowMs()))) continue;
      // Read after the replica became PREPARING: whatever is committed from here on is staged to it, or noted as missed.
      const { generation, refs } = await store.readRefs(repositoryId);
      crashPoint("repair.filling");
      await this.#fetch(found, nodeId, generation, refs, signal, onProgress);
      crashPoint("repair.filled");
      await this.#deps.applier.applyFromLog(repositoryId, nodeId, generation);
      if (await store.promoteReplica(repositoryId, nodeId, generation, clock.nowMs())) {
        crashPoint("repair.promoted");
        this.#deps.log.info({ repository: found.repository.name, nodeId, generation }, "replica is READY");
        return;
      }
    }
    this.#deps.log.info({ repositoryId, nodeId, rounds: roundsMax }, "replica missed pushes while it caught up");
  }

  /**
   * Nothing of a damaged copy is used, as long as there is another to fill it from. Done twice (after a crash in between,
   * by two controllers) it moves aside what was fetched since: the replica is filled once more.
   */
  async #moveDamagedAside({ repository, replicas }: RepositoryWithReplicas, nodeId: string): Promise<boolean> {
    const { membership, nodeClient, store, clock } = this.#deps;
    const node = membership.get(nodeId);
    const others = replicas.filter((replica) => replica.nodeId !== nodeId);
    if (node === undefined || routeRead(others, membership.nodes(), 0).candidates.length === 0) return false;
    const isUnwanted = async (): Promise<boolean> => {
      const found = await store.getRepository(repository.id);
      return found?.replicas.some((replica) => replica.nodeId === nodeId && replica.damaged) === true;
    };
    const copy = { url: node.url, repositoryId: repository.id, reason: "damaged", isUnwanted };
    if (await moveAside(nodeClient, copy)) await store.recordMovedAside(repository.id, nodeId, clock.nowMs());
    return true;
  }

  /** Others are being filled or proved complete just now: what is in a damaged copy is not used before that had its time. */
  #anotherMayCome({ replicas }: RepositoryWithReplicas, { nodeId, stateSinceMs }: Replica): boolean {
    const { membership, clock } = this.#deps;
    return (
      clock.nowMs() - stateSinceMs < damagedWaitMs &&
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
  async #judgeCopy(repositoryId: string, node: ClusterNode, signal: AbortSignal): Promise<void> {
    const { nodeClient, store, clock, log } = this.#deps;
    const request = { generation: 0, refsHash: hashOfRefs([]), objects: true };
    const result = await nodeClient.verify(node.url, repositoryId, request, signal);
    if (result.kind !== "verified" || result.problems.length === 0) return;
    const reason = `damaged: ${result.problems.join("; ")}`.slice(0, 1000);
    const outcome = await store.markDamaged(repositoryId, node.id, reason, clock.nowMs(), { byHand: false });
    log.error({ repositoryId, nodeId: node.id, reason, outcome }, "a replica that cannot catch up is damaged");
  }

  async #fetch(
    { repository, replicas }: RepositoryWithReplicas,
    nodeId: string,
    generation: number,
    refs: readonly StoredRef[],
    signal: AbortSignal,
    onProgress: (text: string) => void,
  ): Promise<void> {
    const { nodeClient, membership, log } = this.#deps;
    const node = membership.get(nodeId);
    const others = replicas.filter((replica) => replica.nodeId !== nodeId);
    const route = routeRead(others, membership.nodes(), this.#turn++);
    const [source] = route.candidates;
    const damaged = replicas.some((replica) => replica.nodeId === nodeId && replica.damaged);
    if (node === undefined) throw new Error("its repository server is gone");
    // With a READY replica that cannot be reached, waiting is better than a proof that may fail.
    const noneReady = !others.some(({ state }) => state === "READY");
    if (source === undefined && !noneReady) throw new Error(route.reason);
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
      if (source !== undefined) await this.#judgeCopy(id, node, signal);
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
