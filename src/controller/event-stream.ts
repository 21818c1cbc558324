/**
 * The event stream: what changes, for people who watch. One look at the store for all of them, and none when nobody
 * watches. The cursor is the store's, so that a client may go on through any controller.
 */
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { StreamMessages } from "../protocol/activity-api.ts";
import type { ClusterEvent } from "../store/activity.ts";
import type { Store } from "../store/store.ts";
import { eventView, workView } from "./activity-views.ts";
import { EventOrder } from "./event-order.ts";
import type { Membership } from "./membership.ts";
import { sampleMs } from "./metrics.ts";
import { nodeStateOf } from "./views.ts";

/** Between two looks. */
const lookMs = 500;
/** Longer than a transaction may last (store/sql/database.ts tries for 15 s). */
const gapMs = 20_000;
/** Events looked back on at the start: one of them may still be uncommitted. */
const lookBack = 100;
const eventsAtOnce = 1000;
const nodesMs = 2000;
const workMax = 200;
/** Pushes are looked for from this long ago on: the controllers' clocks may differ that much. */
const pushSlackMs = 10_000;
const pushesMax = 200;
const watchersMax = 1000;

/** Who watches. */
export interface Watcher {
  /** One message; `id` only where a client may go on from. */
  send<E extends keyof StreamMessages>(event: E, data: StreamMessages[E], id?: number): void;
}

export interface EventStreamDependencies {
  readonly store: Store;
  readonly membership: Membership;
  readonly clock: Clock;
  readonly log: Logger;
}

export class EventStream {
  readonly #deps: EventStreamDependencies;
  readonly #watchers = new Set<Watcher>();
  #order: EventOrder | undefined;
  #work: StreamMessages["work"] = [];
  #nodesMs = -Infinity;
  #samplesMs = -Infinity;
  readonly #pushed = new Map<string, { readonly generation: number; readonly pushedMs: number }>();
  #wake = new AbortController();
  #looking: Promise<void> = Promise.resolve();

  constructor(deps: EventStreamDependencies) {
    this.#deps = deps;
  }

  get full(): boolean {
    return this.#watchers.size >= watchersMax;
  }

  /**
   * Sends what happened after `lastId` (from now on, without it), then everything as it happens, until the returned
   * function is called. Throws "store-unavailable".
   */
  async watch(watcher: Watcher, lastId: number | undefined): Promise<() => void> {
    // Waits for a look that is under way, so that the order below is not about to change.
    await this.#looking;
    if (this.#watchers.size === 0) await this.#startOver();
    const safe = this.#order?.safe ?? 0;
    this.#watchers.add(watcher);
    try {
      if (lastId === undefined) watcher.send("cursor", {}, safe);
      else await this.#resume(watcher, lastId, safe);
      watcher.send("work", this.#work);
    } catch (error) {
      this.#watchers.delete(watcher);
      throw error;
    }
    this.#nodesMs = -Infinity;
    this.#wake.abort();
    return () => this.#watchers.delete(watcher);
  }

  /** Looks at its pace while somebody watches, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#deps;
    let failing = false;
    while (!signal.aborted) {
      if (this.#watchers.size > 0) {
        try {
          this.#looking = this.#look();
          await this.#looking;
          failing = false;
        } catch (error) {
          if (!failing) log.warn({ error: messageOf(error) }, "cannot read what happened");
          failing = true;
        }
        this.#looking = Promise.resolve();
        await clock.sleep(lookMs, signal);
      } else {
        this.#wake = new AbortController();
        await clock.sleep(60_000, AbortSignal.any([signal, this.#wake.signal]));
      }
    }
  }

  async #startOver(): Promise<void> {
    const { store, clock } = this.#deps;
    const order = new EventOrder(Math.max(0, (await store.newestEventId()) - lookBack), gapMs);
    order.take(await store.readEventsAfter(order.safe, eventsAtOnce), clock.monotonicMs());
    this.#order = order;
    this.#work = await this.#readWork();
    this.#pushed.clear();
    for (const { id, generation, pushedMs } of await this.#readPushed()) this.#pushed.set(id, { generation, pushedMs });
  }

  /** Some come twice: those that are above what is safe. */
  async #resume(watcher: Watcher, lastId: number, safe: number): Promise<void> {
    const missed = await this.#deps.store.readEventsAfter(lastId, eventsAtOnce);
    // After the restore of an old backup the store counts on from before.
    if (missed.length === eventsAtOnce || lastId > (await this.#deps.store.newestEventId())) {
      watcher.send("reset", {}, safe);
      return;
    }
    for (const event of missed) watcher.send("change", this.#view(event), Math.min(event.id, safe));
    // What was pushed meanwhile is nowhere: lists are to be read again.
    watcher.send("resumed", {}, Math.max(lastId, safe));
  }

  async #look(): Promise<void> {
    const { store, membership, clock } = this.#deps;
    const order = this.#order;
    if (order === undefined) return;
    const fresh = order.take(await store.readEventsAfter(order.safe, eventsAtOnce), clock.monotonicMs());
    for (const event of fresh) this.#sendAll("change", this.#view(event), order.safe);
    for (const { id, name, generation, pushedMs } of await this.#readPushed()) {
      if ((this.#pushed.get(id)?.generation ?? -1) >= generation) continue;
      this.#pushed.set(id, { generation, pushedMs });
      this.#sendAll("push", { repository: name, generation, at: pushedMs });
    }
    const oldMs = clock.nowMs() - 3 * pushSlackMs;
    for (const [id, { pushedMs }] of this.#pushed) if (pushedMs < oldMs) this.#pushed.delete(id);
    const work = await this.#readWork();
    if (JSON.stringify(work) !== JSON.stringify(this.#work)) this.#sendAll("work", work);
    this.#work = work;
    if (clock.monotonicMs() - this.#samplesMs >= sampleMs) {
      this.#samplesMs = clock.monotonicMs();
      this.#sendAll("samples", {});
    }
    if (clock.monotonicMs() - this.#nodesMs < nodesMs) return;
    this.#nodesMs = clock.monotonicMs();
    const nodes = membership.nodes().map((node) => {
      const { id, heartbeatMs, silentMs, diskUsage, loadAverage } = node;
      const state = nodeStateOf(node);
      return { id, state, timestamp: heartbeatMs, silentMs: Math.round(silentMs), diskUsage, load: loadAverage };
    });
    this.#sendAll("nodes", nodes);
  }

  #readPushed() {
    const { store, clock } = this.#deps;
    return store.listPushedSince(clock.nowMs() - pushSlackMs, pushesMax);
  }

  async #readWork() {
    const { store, membership } = this.#deps;
    return (await store.listWork(workMax)).map((work) => workView(work, membership));
  }

  #view(event: ClusterEvent) {
    return eventView(event, this.#deps.membership);
  }

  #sendAll<E extends keyof StreamMessages>(event: E, data: StreamMessages[E], id?: number): void {
    for (const watcher of this.#watchers) watcher.send(event, data, id);
  }
}
