/** Changes and deletes repositories: the store decides, then the nodes are told. */
import type { Clock } from "../base/clock.ts";
import { crashPoint } from "../base/crash-point.ts";
import { GitmeshError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { isComplete } from "../store/replica.ts";
import type { Replica, Repository, RepositoryPatch, RepositoryWithReplicas, Store } from "../store/store.ts";
import type { Membership } from "./membership.ts";
import type { NodeClient } from "./node-client.ts";
import type { NodeInventory } from "./node-inventory.ts";
import { NodeCallError } from "./node-call-error.ts";

export interface ChangesDependencies {
  readonly store: Store;
  readonly nodeClient: NodeClient;
  readonly membership: Membership;
  readonly inventory: NodeInventory;
  readonly clock: Clock;
  readonly log: Logger;
}

export class RepositoryChanges {
  readonly #deps: ChangesDependencies;

  constructor(deps: ChangesDependencies) {
    this.#deps = deps;
  }

  /**
   * Clients get all of it from the store. The nodes' copies are for people and plain git: one that misses a change gets it
   * from the inventory (node-inventory.ts). Throws "repository-exists" for a name that is taken.
   */
  async update(
    { repository, replicas }: RepositoryWithReplicas,
    patch: RepositoryPatch,
  ): Promise<RepositoryWithReplicas> {
    const updated = await this.#deps.store.updateRepository(repository.id, patch);
    crashPoint("update.committed");
    const isTold = (["name", "description", "defaultBranch"] as const).some((key) => updated[key] !== repository[key]);
    if (isTold) await this.#tellNodes(updated, replicas);
    return this.#found(repository);
  }

  /** Throws "repository-not-found". A node that cannot be told learns it when it registers. */
  async delete(repository: Repository): Promise<void> {
    const { store, nodeClient, clock, log } = this.#deps;
    const replicas = await store.deleteRepository(repository.id, clock.nowMs());
    crashPoint("delete.committed");
    log.info({ repository: repository.name, repositoryId: repository.id }, "repository deleted");
    await this.#eachLive(replicas, async (url) => {
      await nodeClient.retireReplica(url, repository.id, { reason: "deleted" });
      crashPoint("delete.node-told");
    });
  }

  /** Every READY replica is to be verified next (scrub.ts). */
  async askToVerify({ repository, replicas }: RepositoryWithReplicas): Promise<RepositoryWithReplicas> {
    const { store } = this.#deps;
    for (const { nodeId } of replicas) await store.requestVerification(nodeId, [repository.id], undefined);
    return this.#found(repository);
  }

  /**
   * A replica's copy is to be moved aside and filled anew from the others, also a QUARANTINED one. Throws
   * "no-ready-replica" when no other is READY on a live node, "replica-not-found" when the node has none.
   */
  async rebuild({ repository, replicas }: RepositoryWithReplicas, nodeId: string): Promise<RepositoryWithReplicas> {
    const { store, membership, clock, log } = this.#deps;
    const options = { byHand: true };
    const replica = replicas.find((candidate) => candidate.nodeId === nodeId);
    const others = replicas.filter((other) => other.nodeId !== nodeId && isComplete(other));
    // Taken out of service, it would serve nobody until another returns.
    if (replica !== undefined && others.length > 0 && !others.some((other) => membership.get(other.nodeId)?.alive)) {
      throw new GitmeshError("no-ready-replica", "no other complete replica can be reached to fill it from");
    }
    const outcome =
      replica === undefined ? "gone" : await store.markDamaged(replica, "to be filled anew", clock.nowMs(), options);
    if (outcome === "gone") throw new GitmeshError("replica-not-found", "it has no replica on that repository server");
    if (outcome === "only-copy") {
      throw new GitmeshError("no-ready-replica", "no other replica is complete: there is nothing to fill it from");
    }
    log.info({ repository: repository.name, nodeId }, "a replica is to be filled anew");
    return this.#found(repository);
  }

  async #found(repository: Repository): Promise<RepositoryWithReplicas> {
    const found = await this.#deps.store.getRepository(repository.id);
    if (found === undefined) throw new GitmeshError("repository-not-found", "it was deleted meanwhile");
    return found;
  }

  #tellNodes(repository: Repository, replicas: readonly Replica[]): Promise<void> {
    const { id, name, objectFormat, defaultBranch, description } = repository;
    const replica = { id, name, objectFormat, defaultBranch, description };
    return this.#eachLive(replicas, async (url) => {
      await this.#deps.nodeClient.updateReplica(url, replica);
      crashPoint("update.node-told");
    });
  }

  /** Calls every live node, in parallel. */
  async #eachLive(replicas: readonly Replica[], call: (url: string) => Promise<void>): Promise<void> {
    const { membership, inventory, log } = this.#deps;
    await Promise.all(
      replicas.map(async ({ nodeId, repositoryId }) => {
        const node = membership.get(nodeId);
        if (node?.alive !== true) return inventory.askSoon(nodeId);
        try {
          await call(node.url);
        } catch (error) {
          inventory.askSoon(nodeId);
          log.warn({ nodeId, repositoryId, error: messageOf(error) }, "a repository server missed a change");
          if (error instanceof NodeCallError && error.unreachable) membership.reportFailure(nodeId, error);
        }
      }),
    );
  }
}
