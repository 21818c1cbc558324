/**
 * Which repository servers there are and which of them answer, as this controller sees it.
 *
 * A node is alive while its heartbeat in the store changes. How long it has been silent is counted here, in steps of the
 * monotonic clock, so that controllers whose wall clocks differ agree, and so that a controller that could not reach
 * the store (or stood still itself) blames nobody for that time: the view stays as it was, and only failures of real
 * requests go on counting.
 *
 * A failed request makes a node suspect at once, until its next heartbeat or for `suspectMs`; then it is tried again.
 */
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { NodeRecord, Store } from "../store/store.ts";
import type { ClusterNode } from "./cluster-node.ts";

export interface MembershipOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
  readonly heartbeatIntervalMs: number;
  readonly nodeTimeoutMs: number;
}

const suspectMs = 3000;

interface Observed {
  record: NodeRecord;
  silentMs: number;
  /** Monotonic; 0 when it is not suspect. */
  suspectUntilMs: number;
  wasAlive: boolean;
}

export class Membership {
  readonly #options: MembershipOptions;
  readonly #nodes = new Map<string, Observed>();
  readonly #inFlight = new Map<string, number>();
  #refreshedMs: number | undefined;
  #refreshing: Promise<void> | undefined;
  #storeTakesWrites = true;

  constructor(options: MembershipOptions) {
    this.#options = options;
  }

  /** Every node that is registered. */
  nodes(): readonly ClusterNode[] {
    return [...this.#nodes.values()].map((observed) => this.#view(observed));
  }

  get(nodeId: string): ClusterNode | undefined {
    const observed = this.#nodes.get(nodeId);
    return observed === undefined ? undefined : this.#view(observed);
  }

  /** A node did not answer. Never to be called for what a client did. */
  reportFailure(nodeId: string, error: unknown): void {
    const observed = this.#nodes.get(nodeId);
    if (observed === undefined) return;
    if (!this.#view(observed).suspect) {
      this.#options.log.warn(
        { nodeId, url: observed.record.url, error: messageOf(error) },
        "repository server does not answer",
      );
    }
    observed.suspectUntilMs = this.#options.clock.monotonicMs() + suspectMs;
  }

  reportSuccess(nodeId: string): void {
    const observed = this.#nodes.get(nodeId);
    if (observed !== undefined) observed.suspectUntilMs = 0;
  }

  /** Counts a request to a node until the returned function is called. */
  track(nodeId: string): () => void {
    this.#inFlight.set(nodeId, (this.#inFlight.get(nodeId) ?? 0) + 1);
    let released = false;
    return () => {
      if (released) return;
      released = true;
      const count = (this.#inFlight.get(nodeId) ?? 1) - 1;
      if (count > 0) this.#inFlight.set(nodeId, count);
      else this.#inFlight.delete(nodeId);
    };
  }

  /** This controller itself received a heartbeat. */
  heard(nodeId: string): void {
    const observed = this.#nodes.get(nodeId);
    if (observed === undefined) return;
    observed.silentMs = 0;
    observed.suspectUntilMs = 0;
    this.#noteLife(observed);
  }

  /**
   * Whether the store took the last write that this controller tried. While it takes none (a full disk, read-only), what it
   * says of heartbeats is old, and nobody is silent.
   */
  noteWrite(taken: boolean): void {
    this.#storeTakesWrites = taken;
  }

  /** Reads the nodes from the store; several callers at once share one read. Throws "store-unavailable". */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#read().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  /** Refreshes at the pace of the heartbeats until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log, heartbeatIntervalMs } = this.#options;
    let failing = false;
    while (!signal.aborted) {
      try {
        await this.refresh();
        if (failing) log.info("the nodes are read from the store again");
        failing = false;
      } catch (error) {
        if (!failing) log.warn({ error: messageOf(error) }, "cannot read the nodes from the store");
        failing = true;
      }
      await clock.sleep(heartbeatIntervalMs, signal);
    }
  }

  async #read(): Promise<void> {
    const { store, clock, heartbeatIntervalMs } = this.#options;
    const records = await store.listNodes();
    const nowMs = clock.monotonicMs();
    const elapsedMs = nowMs - (this.#refreshedMs ?? nowMs);
    // A longer step means that we did not look, not that the node was silent.
    const stepMs = this.#storeTakesWrites ? Math.min(elapsedMs, 2 * heartbeatIntervalMs) : 0;
    this.#refreshedMs = nowMs;
    const known = new Set(records.map(({ id }) => id));
    for (const id of this.#nodes.keys()) if (!known.has(id)) this.#nodes.delete(id);
    const newestMs = Math.max(...records.map(({ heartbeatMs }) => heartbeatMs));
    for (const record of records) this.#observe(record, stepMs, newestMs);
  }

  #observe(record: NodeRecord, stepMs: number, newestMs: number): void {
    const observed = this.#nodes.get(record.id);
    if (observed === undefined) {
      // Where none was heard, as while the store was down, none is silent for longer than it takes to be called dead.
      const sinceMs = Math.max(0, this.#options.clock.nowMs() - record.heartbeatMs);
      const silentMs = Math.min(sinceMs, Math.max(this.#options.nodeTimeoutMs, newestMs - record.heartbeatMs));
      const wasAlive = silentMs < this.#options.nodeTimeoutMs;
      this.#nodes.set(record.id, { record, silentMs, suspectUntilMs: 0, wasAlive });
      return;
    }
    if (record.heartbeatMs !== observed.record.heartbeatMs || record.bootId !== observed.record.bootId) {
      observed.silentMs = 0;
      observed.suspectUntilMs = 0;
    } else {
      observed.silentMs += stepMs;
    }
    observed.record = record;
    this.#noteLife(observed);
  }

  #noteLife(observed: Observed): void {
    const { alive, id, url } = this.#view(observed);
    if (alive === observed.wasAlive) return;
    observed.wasAlive = alive;
    if (alive) this.#options.log.info({ nodeId: id, url }, "repository server is alive");
    else this.#options.log.warn({ nodeId: id, url }, "repository server is dead: no heartbeat");
  }

  #view({ record, silentMs, suspectUntilMs }: Observed): ClusterNode {
    const { id, url, version, registeredMs, heartbeatMs, diskUsage, diskFreeBytes } = record;
    const { draining, toldDead, loadAverage } = record;
    return {
      id,
      url,
      version,
      registeredMs,
      heartbeatMs,
      diskUsage,
      diskFreeBytes,
      draining,
      toldDead,
      loadAverage,
      alive: silentMs < this.#options.nodeTimeoutMs,
      suspect: suspectUntilMs > this.#options.clock.monotonicMs(),
      silentMs,
      inFlight: this.#inFlight.get(id) ?? 0,
    };
  }
}
