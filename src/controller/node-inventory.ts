/**
 * Asks each node now and then what is on its disk, and compares it with the store: a controller that died in the middle
 * of a change has told some nodes and not others, and no record says which.
 *
 * A copy that is not placed there goes to the orphans (orphans.ts), which know a deleted or surplus one from an unknown
 * one. A replica with another default branch or name than the store's is told again. One that is READY and not there is
 * to be verified, which finds it missing.
 */
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Store } from "../store/store.ts";
import type { ClusterNode } from "./cluster-node.ts";
import type { Membership } from "./membership.ts";
import type { NodeClient } from "./node-client.ts";
import type { Orphans } from "./orphans.ts";

export interface NodeInventoryDependencies {
  readonly store: Store;
  readonly nodeClient: NodeClient;
  readonly membership: Membership;
  readonly orphans: Orphans;
  readonly clock: Clock;
  readonly log: Logger;
  /** Time between two looks for nodes that are due. */
  readonly intervalMs: number;
  /** Time between two looks at one node. */
  readonly askMs?: number;
}

/** A node is asked soon after this controller's start and then this often. */
const askDefaultMs = 600_000;
/** One that could not be compared is asked again after this. */
const askAgainMs = 60_000;

export class NodeInventory {
  readonly #deps: NodeInventoryDependencies;
  /** When each node is to be asked next, by the monotonic clock. */
  readonly #dueMs = new Map<string, number>();

  constructor(deps: NodeInventoryDependencies) {
    this.#deps = deps;
  }

  /** This node may have missed a change: it is compared as soon as it is alive. */
  askSoon(nodeId: string): void {
    this.#dueMs.delete(nodeId);
  }

  /** Asks those that are due until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, intervalMs } = this.#deps;
    while (!signal.aborted) {
      await this.askDue();
      await clock.sleep(intervalMs, signal);
    }
  }

  /** Never rejects. */
  async askDue(): Promise<void> {
    const { membership, clock, log } = this.#deps;
    const nodes = membership.nodes();
    const known = new Set(nodes.map(({ id }) => id));
    for (const id of this.#dueMs.keys()) if (!known.has(id)) this.#dueMs.delete(id);
    for (const node of nodes) {
      const nowMs = clock.monotonicMs();
      if (!node.alive || nowMs < (this.#dueMs.get(node.id) ?? -Infinity)) continue;
      // Before it is compared: who wants it asked soon meanwhile is not forgotten.
      this.#dueMs.set(node.id, nowMs + (this.#deps.askMs ?? askDefaultMs));
      try {
        await this.#compare(node);
      } catch (error) {
        this.#dueMs.set(node.id, clock.monotonicMs() + askAgainMs);
        log.warn({ nodeId: node.id, error: messageOf(error) }, "cannot compare what is on a node's disk");
      }
    }
  }

  async #compare(node: ClusterNode): Promise<void> {
    const { store, nodeClient, orphans } = this.#deps;
    const onDisk = await nodeClient.listReplicas(node.url);
    // Read after the disk: a replica whose place was decided meanwhile is no orphan.
    const placed = new Map(
      (await store.listReplicasOfNode(node.id)).map((found) => [found.replica.repositoryId, found]),
    );
    orphans.found(
      node.id,
      onDisk.map(({ id }) => id).filter((id) => !placed.has(id)),
    );
    const there = new Set(onDisk.map(({ id }) => id));
    const missing = [...placed.values()].filter(({ replica }) => replica.state === "READY");
    const missingIds = missing.map(({ replica }) => replica.repositoryId).filter((id) => !there.has(id));
    await store.requestVerification(node.id, missingIds, undefined);
    for (const { id, name, defaultBranch } of onDisk) {
      const found = placed.get(id);
      if (found === undefined || found.replica.state === "QUARANTINED") continue;
      if (found.name !== name || found.defaultBranch !== defaultBranch) await this.#tellAgain(node, id);
    }
  }

  /** A change that is just being made may come first to the node, then to the store: the next look mends that. */
  async #tellAgain(node: ClusterNode, repositoryId: string): Promise<void> {
    const { store, nodeClient, log } = this.#deps;
    const found = await store.getRepository(repositoryId);
    if (found === undefined) return;
    const { id, name, objectFormat, defaultBranch, description } = found.repository;
    await nodeClient.updateReplica(node.url, { id, name, objectFormat, defaultBranch, description });
    log.info({ nodeId: node.id, repository: name }, "a replica had missed a new name or default branch");
  }
}
