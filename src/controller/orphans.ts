/**
 * Copies on nodes' disks that the store does not place there, as the nodes told when they registered with this
 * controller, or when they were asked (node-inventory.ts). A copy whose repository has all its wanted replicas READY
 * elsewhere is surplus and is moved aside; one of a repository that the store does not know is left alone for a person
 * (the store may be the one that is wrong).
 *
 * The list is in memory: after a controller's end, a node's next registration brings it back.
 */
import type { Clock } from "../base/clock.ts";
import { crashPoint } from "../base/crash-point.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { isComplete } from "../store/replica.ts";
import type { Store } from "../store/store.ts";
import type { Membership } from "./membership.ts";
import { moveAside } from "./moving-aside.ts";
import type { NodeClient } from "./node-client.ts";

export interface OrphansDependencies {
  readonly store: Store;
  readonly nodeClient: NodeClient;
  readonly membership: Membership;
  readonly clock: Clock;
  readonly log: Logger;
  readonly intervalMs: number;
}

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
    const { store, membership, nodeClient, log } = this.#deps;
    const node = membership.get(nodeId);
    if (node?.alive !== true) return false;
    const found = await store.getRepository(repositoryId);
    if (found?.replicas.some((replica) => replica.nodeId === nodeId) === true) return true;
    const reason = await this.#reasonToMove(nodeId, repositoryId);
    if (reason === undefined) return false;
    log.info({ nodeId, repositoryId, reason }, "moving a copy aside");
    const isUnwanted = async (): Promise<boolean> => (await this.#reasonToMove(nodeId, repositoryId)) !== undefined;
    try {
      const moved = await moveAside(nodeClient, { url: node.url, repositoryId, reason, isUnwanted });
      crashPoint("orphan.moved-aside");
      return moved;
    } catch (error) {
      log.warn({ nodeId, repositoryId, error: messageOf(error) }, "could not move a copy aside");
      return false;
    }
  }

  /** Why the copy is not wanted; undefined when it is, or may be. */
  async #reasonToMove(nodeId: string, repositoryId: string): Promise<"deleted" | "surplus" | undefined> {
    const { store, membership } = this.#deps;
    const found = await store.getRepository(repositoryId);
    if (found === undefined) return (await store.deletedMs(repositoryId)) === undefined ? undefined : "deleted";
    const { repository, replicas } = found;
    if (replicas.some((replica) => replica.nodeId === nodeId) || repository.aheadGeneration >= 0) return undefined;
    const ready = replicas.filter(
      (replica) => isComplete(replica) && membership.get(replica.nodeId)?.alive === true,
    ).length;
    return ready >= repository.replicasWanted ? "surplus" : undefined;
  }
}
