/** Changes and deletes repositories: the store decides, then the nodes are told. */
import type { Clock } from "../base/clock.ts";
import { crashPoint } from "../base/crash-point.ts";
import { GitmeshError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Replica, Repository, RepositoryPatch, RepositoryWithReplicas, Store } from "../store/store.ts";
import type { Membership } from "./membership.ts";
import type { NodeClient } from "./node-client.ts";
import { NodeCallError } from "./node-call-error.ts";

export interface ChangesDependencies {
  readonly store: Store;
  readonly nodeClient: NodeClient;
  readonly membership: Membership;
  readonly clock: Clock;
  readonly log: Logger;
}

export class RepositoryChanges {
  readonly #deps: ChangesDependencies;

  constructor(deps: ChangesDependencies) {
    this.#deps = deps;
  }

  /**
   * Name and description on the nodes are for people: a node that misses one keeps the old. Its HEAD matters to plain
   * git, so the nodes get a new default branch first: without one READY replica that has it nothing is changed
   * ("no-ready-replica"), and one that missed it becomes STALE, so that its catch-up brings it.
   * Throws "repository-exists" too.
   */
  async update(
    { repository, replicas }: RepositoryWithReplicas,
    patch: RepositoryPatch,
  ): Promise<RepositoryWithReplicas> {
    const { store, clock } = this.#deps;
    const { defaultBranch = repository.defaultBranch } = patch;
    const newHead = defaultBranch !== repository.defaultBranch;
    const missed = newHead ? await this.#tellNodes({ ...repository, defaultBranch }, replicas) : [];
    if (newHead && !replicas.some(({ nodeId, state }) => state === "READY" && !missed.includes(nodeId))) {
      throw new GitmeshError("no-ready-replica", "no complete replica could take the new default branch");
    }
    crashPoint("update.heads-told");
    let updated: Repository;
    try {
      updated = await store.updateRepository(repository.id, patch);
    } catch (error) {
      if (newHead) await this.#tellNodes(repository, replicas);
      throw error;
    }
    crashPoint("update.committed");
    if (updated.name !== repository.name || updated.description !== repository.description) {
      await this.#tellNodes(updated, replicas);
    }
    if (missed.length > 0) {
      await store.markStale(repository.id, missed, `missed the new default branch ${defaultBranch}`, clock.nowMs());
    }
    const found = await store.getRepository(repository.id);
    if (found === undefined) throw new GitmeshError("repository-not-found", "it was deleted meanwhile");
    return found;
  }

  /** Throws "repository-not-found". A node that cannot be told learns it when it registers. */
  async delete(repository: Repository): Promise<void> {
    const { store, nodeClient, clock, log } = this.#deps;
    const replicas = await store.deleteRepository(repository.id, clock.nowMs());
    crashPoint("delete.committed");
    log.info({ repository: repository.name, repositoryId: repository.id }, "repository deleted");
    await this.#eachLive(replicas, async (url) => {
      await nodeClient.retireReplica(url, repository.id, "deleted");
      crashPoint("delete.node-told");
    });
  }

  #tellNodes(repository: Repository, replicas: readonly Replica[]): Promise<readonly string[]> {
    const { id, name, objectFormat, defaultBranch, description } = repository;
    const replica = { id, name, objectFormat, defaultBranch, description };
    return this.#eachLive(replicas, async (url) => {
      await this.#deps.nodeClient.updateReplica(url, replica);
      crashPoint("update.node-told");
    });
  }

  /** Calls every node in parallel; returns those that are dead or failed. */
  async #eachLive(replicas: readonly Replica[], call: (url: string) => Promise<void>): Promise<readonly string[]> {
    const { membership, log } = this.#deps;
    const failed: string[] = [];
    await Promise.all(
      replicas.map(async ({ nodeId, repositoryId }) => {
        const node = membership.get(nodeId);
        if (node?.alive !== true) {
          failed.push(nodeId);
          return;
        }
        try {
          await call(node.url);
        } catch (error) {
          failed.push(nodeId);
          log.warn({ nodeId, repositoryId, error: messageOf(error) }, "a repository server missed a change");
          if (error instanceof NodeCallError && error.unreachable) membership.reportFailure(nodeId, error);
        }
      }),
    );
    return failed;
  }
}
