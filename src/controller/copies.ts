/**
 * Copies on nodes' disks that are no replicas: orphans, which the store does not place there, and what was moved aside.
 * Orphans are listed and never touched here. What was moved aside is deleted when it is old and nobody can miss it.
 */
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { ControllerSettings } from "../base/settings.ts";
import type { AsideCopy } from "../protocol/node-api.ts";
import { isComplete } from "../store/replica.ts";
import type { Store } from "../store/store.ts";
import type { ClusterNode } from "./cluster-node.ts";
import type { LeaseKeeper } from "./lease.ts";
import type { Membership } from "./membership.ts";
import { Cached } from "./cached.ts";
import type { NodeClient } from "./node-client.ts";

export interface CopiesDependencies {
  readonly store: Store;
  readonly nodeClient: NodeClient;
  readonly membership: Membership;
  readonly lease: LeaseKeeper;
  readonly settings: ControllerSettings;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface Copy {
  readonly kind: "orphan" | "aside";
  readonly node: ClusterNode;
  readonly repositoryId: string;
  /** As the copy itself has it. */
  readonly name: string;
  readonly reason: string;
  /** When it was moved aside; -1 for an orphan. */
  readonly movedMs: number;
  readonly sizeBytes: number;
}

export interface CopiesOnDisks {
  readonly atMs: number;
  /** By name. */
  readonly copies: readonly Copy[];
  /** Nodes that did not answer. */
  readonly unreachable: readonly ClusterNode[];
}

/** How old an answer may be: every node is asked for it. */
const keepMs = 60_000;
const idsPage = 5000;
/** Repair intervals between two looks at what is aside. */
const purgeIntervals = 60;

export class Copies {
  readonly #deps: CopiesDependencies;
  readonly #listed: Cached<CopiesOnDisks>;

  constructor(deps: CopiesDependencies) {
    this.#deps = deps;
    this.#listed = new Cached(() => this.#list(), { keepMs, clock: deps.clock });
  }

  /** What lies on the nodes that answer, and those that do not; of up to a minute ago. Throws "store-unavailable". */
  list({ fresh }: { readonly fresh: boolean }): Promise<CopiesOnDisks> {
    return fresh ? this.#listed.fresh() : this.#listed.get();
  }

  async #list(): Promise<CopiesOnDisks> {
    const atMs = this.#deps.clock.nowMs();
    const copies: Copy[] = [];
    const unreachable: ClusterNode[] = [];
    await Promise.all(
      this.#deps.membership.nodes().map(async (node) => {
        const found = node.alive ? await this.#copiesOn(node) : undefined;
        if (found === undefined) unreachable.push(node);
        else copies.push(...found);
      }),
    );
    copies.sort((one, other) => one.name.localeCompare(other.name) || one.node.url.localeCompare(other.node.url));
    return { atMs, copies, unreachable };
  }

  /** Looks from time to time while the lease is held, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { lease, clock, log, settings } = this.#deps;
    while (!signal.aborted) {
      await clock.sleep(purgeIntervals * settings.repairIntervalMs, signal);
      const held = lease.signal;
      if (held === undefined || signal.aborted) continue;
      try {
        await this.purge(AbortSignal.any([signal, held]));
      } catch (error) {
        log.debug({ error: messageOf(error) }, "a look at copies aside broke off");
      }
    }
  }

  /** Deletes what is aside for long enough and can be missed. Throws "store-unavailable". */
  async purge(signal: AbortSignal): Promise<void> {
    const { membership, nodeClient, log } = this.#deps;
    for (const node of membership.nodes()) {
      if (!node.alive) continue;
      const found = await nodeClient.copies(node.url).catch(() => undefined);
      for (const copy of found?.aside ?? []) {
        if (signal.aborted) return;
        if (!(await this.#canBeMissed(copy))) continue;
        log.info({ nodeId: node.id, repositoryId: copy.repositoryId, entry: copy.entry }, "deleting a copy aside");
        await nodeClient.purgeCopy(node.url, copy.entry).catch((error: unknown) => {
          log.warn({ nodeId: node.id, entry: copy.entry, error: messageOf(error) }, "could not delete a copy aside");
        });
      }
    }
  }

  /**
   * Whether the repository was deleted long ago, or the copy was moved long ago and the wanted number of live replicas
   * was verified since. The store is asked, not the copy's own reason: a store restored from a backup may have the
   * repository again. What is long ago must be so by the node's clock and by this controller's: one of them may have jumped.
   */
  async #canBeMissed({ repositoryId, movedMs, ageMs }: AsideCopy): Promise<boolean> {
    const { store, membership, settings, clock } = this.#deps;
    const nowMs = clock.nowMs();
    const isOlderThan = (keepMs: number): boolean => ageMs >= keepMs && nowMs - movedMs >= keepMs;
    if (!isOlderThan(Math.min(settings.asideKeepMs, settings.deletedKeepMs))) return false;
    const found = await store.getRepository(repositoryId);
    if (found === undefined) {
      const deletedMs = await store.deletedMs(repositoryId);
      const keepMs = settings.deletedKeepMs;
      return deletedMs !== undefined && nowMs - deletedMs >= keepMs && isOlderThan(keepMs);
    }
    const verified = found.replicas.filter(
      (replica) =>
        isComplete(replica) &&
        replica.verifiedMs > movedMs &&
        // A time to come was written by a clock that was wrong.
        replica.verifiedMs <= nowMs &&
        membership.get(replica.nodeId)?.alive === true,
    );
    return isOlderThan(settings.asideKeepMs) && verified.length >= found.repository.replicasWanted;
  }

  /** Undefined when the node does not answer. */
  async #copiesOn(node: ClusterNode): Promise<Copy[] | undefined> {
    const found = await this.#deps.nodeClient.copies(node.url).catch(() => undefined);
    if (found === undefined) return undefined;
    const placed = await this.#placedOn(node.id);
    const orphans = found.replicas
      .filter(({ repositoryId }) => !placed.has(repositoryId))
      .map(({ repositoryId, name }): Copy => {
        const reason = "the metadata store does not place it there";
        return { kind: "orphan", node, repositoryId, name, reason, movedMs: -1, sizeBytes: 0 };
      });
    const aside = found.aside.map(({ entry: _entry, ageMs: _ageMs, ...copy }): Copy => ({
      kind: "aside",
      node,
      ...copy,
    }));
    return [...orphans, ...aside];
  }

  async #placedOn(nodeId: string): Promise<ReadonlySet<string>> {
    const placed = new Set<string>();
    for (let afterId = ""; ;) {
      const ids = await this.#deps.store.repositoryIdsOfNode(nodeId, idsPage, afterId);
      for (const id of ids) placed.add(id);
      if (ids.length < idsPage) return placed;
      afterId = ids.at(-1) ?? "";
    }
  }
}
