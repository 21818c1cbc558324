/**
 * Copies on nodes' disks that the store does not place there, as the nodes told when they registered with this
 * controller. A copy whose repository has all its wanted replicas READY elsewhere is surplus and is moved aside; one
 * of a repository that the store does not know is left alone for a person (the store may be the one that is wrong).
 *
 * The list is in memory: after a controller's end, a node's next registration brings it back.
 */
import type { Clock } from "../base/clock.ts";
import { crashPoint } from "../base/crash-point.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Store } from "../store/store.ts";
import type { Membership } from "./membership.ts";
import type { NodeClient } from "./node-client.ts";

export interface OrphansDependencies {
  readonly store: Store;
  readonly nodeClient: NodeClient;
  readonly membership: Membership;
  readonly clock: Clock;
  readonly log: Logger;
  readonly intervalMs: number;
}

/** Longer than a call to a node may take: what was placed on it since the store was read is not moved. */
const ifUnusedMs = 30_000;
/** Copies looked at in one go. */
const lookMax = 100;

export class Orphans {
  readonly #deps: OrphansDependencies;
  readonly #byNode = new Map<string, Set<string>>();

  constructor(deps: OrphansDependencies) {
    this.#deps = deps;
  }

  /** Replaces what was known of a node. */
  found(nodeId: string, repositoryIds: readonly string[]): void {
    if (repositoryIds.length === 0) this.#byNode.delete(nodeId);
    else this.#byNode.set(nodeId, new Set(repositoryIds));
  }

  /** Looks at them from time to time until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.look();
      } catch (error) {
        this.#deps.log.debug({ error: messageOf(error) }, "cannot look at surplus copies");
      }
      await this.#deps.clock.sleep(this.#deps.intervalMs, signal);
    }
  }

  /** Moves aside what is surplus by now. Throws "store-unavailable". */
  async look(): Promise<void> {
    for (const [nodeId, repositoryIds] of this.#byNode) {
      for (const repositoryId of [...repositoryIds].slice(0, lookMax)) {
        // To the end of the line: one that must wait does not hold up the others.
        repositoryIds.delete(repositoryId);
        let done = false;
        try {
          done = await this.#lookAt(nodeId, repositoryId);
        } finally {
          if (!done) repositoryIds.add(repositoryId);
        }
      }
      if (repositoryIds.size === 0) this.#byNode.delete(nodeId);
    }
  }

  /** True when there is nothing more to do about it. */
  async #lookAt(nodeId: string, repositoryId: string): Promise<boolean> {
    const { store, membership, log } = this.#deps;
    const node = membership.get(nodeId);
    if (node?.alive !== true) return false;
    const found = await store.getRepository(repositoryId);
    if (found === undefined) {
      if (!(await store.isDeleted(repositoryId))) return false;
      return this.#retire(node.url, nodeId, repositoryId, "deleted");
    }
    if (found.replicas.some((replica) => replica.nodeId === nodeId)) return true;
    if (found.repository.aheadGeneration >= 0) return false;
    const ready = found.replicas.filter(
      (replica) => replica.state === "READY" && membership.get(replica.nodeId)?.alive === true,
    ).length;
    if (ready < found.repository.replicasWanted) return false;
    log.info({ nodeId, repository: found.repository.name }, "moving a surplus copy aside");
    return this.#retire(node.url, nodeId, repositoryId, "surplus");
  }

  async #retire(url: string, nodeId: string, repositoryId: string, reason: string): Promise<boolean> {
    try {
      await this.#deps.nodeClient.retireReplica(url, repositoryId, { reason, ifUnusedMs });
      crashPoint("orphan.moved-aside");
      // Should it have been placed there meanwhile, it has nothing now.
      await this.#deps.store.recordMovedAside(repositoryId, nodeId, this.#deps.clock.nowMs());
      return true;
    } catch (error) {
      this.#deps.log.warn({ nodeId, repositoryId, error: messageOf(error) }, "could not move a copy aside");
      return false;
    }
  }
}
