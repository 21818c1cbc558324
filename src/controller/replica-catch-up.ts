/**
 * Makes a replica READY: has it fetch from a READY one while pushes are staged to it already, then promotes it if it
 * missed nothing since (docs/decisions/0003).
 */
import type { Clock } from "../base/clock.ts";
import { crashPoint } from "../base/crash-point.ts";
import type { Logger } from "../base/log.ts";
import { hashOfRefs, nodePaths } from "../protocol/node-api.ts";
import type { ObjectId, RefName } from "../protocol/ref-name.ts";
import type { RepositoryWithReplicas, Store, StoredRef } from "../store/store.ts";
import type { ReplicaApplier } from "./apply.ts";
import type { Membership } from "./membership.ts";
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

/** A replica that is not READY after so many fetches is visited again later. */
const roundsMax = 4;
/** A node that could not fill a replica so often in a row is asked whether what is on its disk is sound. */
const failuresMax = 2;

export class ReplicaCatchUp {
  readonly #deps: ReplicaCatchUpDependencies;
  #turn = 0;
  /** Catch-ups in a row that failed on the replica's own node, by repository and node. */
  readonly #failures = new Map<string, number>();

  constructor(deps: ReplicaCatchUpDependencies) {
    this.#deps = deps;
  }

  /**
   * Resolves when the replica is READY, is no longer to be filled (deleted, removed, QUARANTINED), or missed pushes during
   * every fetch: then the next visit goes on. Throws with the reason when it could not be filled now.
   */
  async run(repositoryId: string, nodeId: string, signal: AbortSignal): Promise<void> {
    const { store, clock } = this.#deps;
    for (let round = 0; round < roundsMax; round += 1) {
      signal.throwIfAborted();
      const found = await store.getRepository(repositoryId);
      const replica = found?.replicas.find((candidate) => candidate.nodeId === nodeId);
      if (found === undefined || replica === undefined) return;
      if (replica.state === "READY" || replica.state === "QUARANTINED") return;
      if (replica.damaged && (await this.#moveDamagedAside(found, nodeId))) continue;
      if (replica.state === "STALE" && !(await store.beginCatchUp(repositoryId, nodeId, clock.nowMs()))) continue;
      // Read after the replica became PREPARING: whatever is committed from here on is staged to it, or noted as missed.
      const { generation, refs } = await store.readRefs(repositoryId);
      crashPoint("repair.filling");
      const failure = await this.#fetch(found, nodeId, generation, refs, signal);
      if (failure !== undefined) {
        await this.#afterFailure(repositoryId, nodeId, generation, refs, signal);
        throw new Error(failure);
      }
      this.#failures.delete(`${repositoryId} ${nodeId}`);
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
    await nodeClient.retireReplica(node.url, repository.id, { reason: "damaged" });
    await store.recordMovedAside(repository.id, nodeId, clock.nowMs());
    return true;
  }

  /**
   * A copy with rotten objects can keep git from filling it, and only READY ones are scrubbed. Found damaged, it is moved
   * aside by the next visit.
   */
  async #afterFailure(
    repositoryId: string,
    nodeId: string,
    generation: number,
    refs: readonly StoredRef[],
    signal: AbortSignal,
  ): Promise<void> {
    const { membership, nodeClient, store, clock, log } = this.#deps;
    const key = `${repositoryId} ${nodeId}`;
    const failures = (this.#failures.get(key) ?? 0) + 1;
    this.#failures.set(key, failures);
    const node = membership.get(nodeId);
    if (failures < failuresMax || node === undefined) return;
    this.#failures.delete(key);
    const request = { generation, refsHash: hashOfRefs(pairs(refs)), objects: true };
    const result = await nodeClient.verify(node.url, repositoryId, request, signal);
    if (result.kind !== "verified" || result.problems.length === 0) return;
    const reason = `damaged: ${result.problems.join("; ")}`.slice(0, 1000);
    const outcome = await store.markDamaged(repositoryId, nodeId, reason, clock.nowMs(), { byHand: false });
    log.error({ repositoryId, nodeId, reason, outcome }, "a replica that cannot be filled is damaged");
  }

  /** Undefined when it worked; what the replica's node says when it did not. Throws when that node does not answer. */
  async #fetch(
    { repository, replicas }: RepositoryWithReplicas,
    nodeId: string,
    generation: number,
    refs: readonly StoredRef[],
    signal: AbortSignal,
  ): Promise<string | undefined> {
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
      const result = await nodeClient.catchUp(node.url, header, pairs(refs), () => {}, signal);
      return result.kind === "caught-up" ? undefined : result.message;
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
