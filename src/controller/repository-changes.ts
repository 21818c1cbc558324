/** Changes and deletes repositories: the store decides, then the nodes are told. */
import type { Clock } from "../base/clock.ts";
import { GitmeshError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Replica, Repository, RepositoryPatch, RepositoryWithReplicas, Store } from "../store/store.ts";
import type { Membership } from "./membership.ts";
import type { NodeClient } from "./node-client.ts";
import { NodeCallError } from "./node-call-error.ts";
import { routeRead } from "./router.ts";

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
   * git, so a replica that misses a new default branch becomes STALE, and its catch-up brings it. That needs one READY
   * replica that has it: "no-ready-replica" otherwise, before anything is changed.
   * Throws "repository-exists" too.
   */
  async update(
    { repository, replicas }: RepositoryWithReplicas,
    patch: RepositoryPatch,
  ): Promise<RepositoryWithReplicas> {
    const { store, membership } = this.#deps;
    const newHead = patch.defaultBranch !== undefined && patch.defaultBranch !== repository.defaultBranch;
    const route = routeRead(replicas, membership.nodes(), 0);
    if (newHead && route.candidates.length === 0) throw new GitmeshError("no-ready-replica", route.reason);
    const updated = await store.updateRepository(repository.id, patch);
    const { name, defaultBranch, description } = updated;
    if (newHead || name !== repository.name || description !== repository.description) {
      const missed = await this.#tellNodes(updated, replicas);
      if (newHead) await this.#markMissed(updated, replicas, missed, defaultBranch);
    }
    const found = await store.getRepository(repository.id);
    if (found === undefined) throw new GitmeshError("repository-not-found", "it was deleted meanwhile");
    return found;
  }

  /** Throws "repository-not-found". A node that cannot be told learns it when it registers. */
  async delete(repository: Repository): Promise<void> {
    const { store, nodeClient, clock, log } = this.#deps;
    const replicas = await store.deleteRepository(repository.id, clock.nowMs());
    log.info({ repository: repository.name, repositoryId: repository.id }, "repository deleted");
    await this.#eachLive(replicas, (url) => nodeClient.retireReplica(url, repository.id, "deleted"));
  }

  #tellNodes(repository: Repository, replicas: readonly Replica[]): Promise<readonly string[]> {
    const { id, name, objectFormat, defaultBranch, description } = repository;
    const replica = { id, name, objectFormat, defaultBranch, description };
    return this.#eachLive(replicas, (url) => this.#deps.nodeClient.updateReplica(url, replica));
  }

  async #markMissed(
    repository: Repository,
    replicas: readonly Replica[],
    missed: readonly string[],
    defaultBranch: string,
  ): Promise<void> {
    const { store, clock, log } = this.#deps;
    if (missed.length === 0) return;
    const told = replicas.some(({ nodeId, state }) => state === "READY" && !missed.includes(nodeId));
    if (!told) {
      log.error({ repository: repository.name, defaultBranch }, "no complete replica has the new default branch");
      return;
    }
    await store.markStale(repository.id, missed, `missed the new default branch ${defaultBranch}`, clock.nowMs());
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
