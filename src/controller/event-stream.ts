/**
 * The event stream: what changes, for people who watch. One look at the store for all of them, and none when nobody
 * watches. The cursor is the store's, so that a client may go on through any controller.
 *
 * Everything that is read of the store for it is read in one loop, a step after the other: who comes gets what was
 * missed before anything newer.
 */
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { StreamMessages } from "../protocol/activity-api.ts";
import type { ClusterEvent } from "../store/activity.ts";
import type { Store } from "../store/store.ts";
import { eventView, workItemsMax, workView } from "./activity-views.ts";
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
const unwatchedMs = 60_000;
/** Pushes are looked for from this long before the last look on: the controllers' clocks may differ that much. */
const pushSlackMs = 10_000;
const pushesMax = 200;
const watchersMax = 1000;

/** Who watches. */
export interface Watcher {
  /** Takes one message as it goes over the wire (messageText). */
  write(message: string): void;
}

export interface Watch {
  /** Whether what was missed was sent; otherwise that comes when the store answers. */
  readonly begun: boolean;
  readonly leave: () => void;
}

export interface EventStreamDependencies {
  readonly store: Pick<Store, "listPushedSince" | "listWork" | "newestEventId" | "readEventsAfter">;
  readonly membership: Pick<Membership, "get" | "nodes">;
  readonly clock: Clock;
  readonly log: Logger;
}

interface Watching {
  readonly watcher: Watcher;
  readonly lastId: number | undefined;
  /** Resolves when the store was asked for it once. */
  readonly asked: PromiseWithResolvers<void>;
  begun: boolean;
}

/** A message of the stream; `id` only where a client may go on from. */
export function messageText<E extends keyof StreamMessages>(event: E, data: StreamMessages[E], id?: number): string {
  return `${id === undefined ? "" : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}

export class EventStream {
  readonly #deps: EventStreamDependencies;
  readonly #watchers = new Set<Watching>();
  /** Undefined while nobody watches. */
  #order: EventOrder | undefined;
  /** The last message about it. */
  #work = messageText("work", []);
  #samplesMs = -Infinity;
  /** Time of the last look that succeeded: pushes before it were told. */
  #lookedMs = 0;
  readonly #pushed = new Map<string, { readonly generation: number; readonly pushedMs: number }>();
  #storeAnswers = true;
  #wake = new AbortController();

  constructor(deps: EventStreamDependencies) {
    this.#deps = deps;
  }

  get full(): boolean {
    return this.#watchers.size >= watchersMax;
  }

  /**
   * Sends what happened after `lastId` (from now on, without it), then everything as it happens, until it is left. While
   * the store does not answer there are the nodes only.
   */
  async watch(watcher: Watcher, lastId: number | undefined): Promise<Watch> {
    const watching: Watching = { watcher, lastId, asked: Promise.withResolvers(), begun: false };
    this.#watchers.add(watching);
    this.#wake.abort();
    await watching.asked.promise;
    if (!watching.begun) watcher.write(messageText("store", { ok: false }));
    watcher.write(this.#nodes());
    return { begun: watching.begun, leave: () => this.#watchers.delete(watching) };
  }

  /** Looks at its pace while somebody watches, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#runLooks(signal), this.#runNodes(signal)]);
    for (const { asked } of this.#watchers) asked.resolve();
  }

  async #runLooks(signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    while (!signal.aborted) {
      // Who comes during the look is not kept waiting for the next.
      this.#wake = new AbortController();
      if (this.#watchers.size === 0) this.#order = undefined;
      else await this.#lookForAll();
      await clock.sleep(this.#watchers.size === 0 ? unwatchedMs : lookMs, AbortSignal.any([signal, this.#wake.signal]));
    }
  }

  /** The nodes are known without the store. */
  async #runNodes(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (this.#watchers.size > 0) this.#sendAll(this.#nodes(), { begunOnly: false });
      await this.#deps.clock.sleep(nodesMs, signal);
    }
  }

  /** Never rejects. */
  async #lookForAll(): Promise<void> {
    const waiting = [...this.#watchers].filter(({ begun }) => !begun);
    try {
      if (this.#order === undefined) await this.#startOver();
      else await this.#look(this.#order);
      this.#noteStore(true);
      await Promise.all(waiting.map((watching) => this.#begin(watching)));
    } catch (error) {
      this.#noteStore(false, error);
    }
    for (const { asked } of waiting) asked.resolve();
  }

  #noteStore(answers: boolean, error?: unknown): void {
    if (answers === this.#storeAnswers) return;
    this.#storeAnswers = answers;
    if (!answers) this.#deps.log.warn({ error: messageOf(error) }, "cannot read what happened");
    this.#sendAll(messageText("store", { ok: answers }));
  }

  async #startOver(): Promise<EventOrder> {
    const { store, clock } = this.#deps;
    const nowMs = clock.nowMs();
    const order = new EventOrder(Math.max(0, (await store.newestEventId()) - lookBack), gapMs);
    order.take(await store.readEventsAfter(order.safe, eventsAtOnce), clock.monotonicMs());
    this.#work = await this.#readWork();
    this.#pushed.clear();
    const pushed = await store.listPushedSince(nowMs - pushSlackMs, pushesMax);
    for (const { id, generation, pushedMs } of pushed) this.#pushed.set(id, { generation, pushedMs });
    this.#lookedMs = nowMs;
    this.#order = order;
    return order;
  }

  async #begin(watching: Watching): Promise<void> {
    const { watcher, lastId } = watching;
    const safe = this.#order?.safe ?? 0;
    if (lastId === undefined) watcher.write(messageText("cursor", {}, safe));
    else await this.#resume(watcher, lastId, safe);
    watching.begun = true;
    watcher.write(this.#work);
  }

  /** Some come twice: those that are above what is safe. */
  async #resume(watcher: Watcher, lastId: number, safe: number): Promise<void> {
    const { store } = this.#deps;
    const missed = await store.readEventsAfter(lastId, eventsAtOnce);
    // After the restore of an old backup the store counts on from before.
    if (missed.length === eventsAtOnce || lastId > (await store.newestEventId())) {
      watcher.write(messageText("reset", {}, safe));
      return;
    }
    const cursorOf = (id: number): number => Math.max(lastId, Math.min(id, safe));
    for (const event of missed) watcher.write(this.#change(event, cursorOf(event.id)));
    // What was pushed meanwhile is nowhere: lists are to be read again.
    watcher.write(messageText("resumed", {}, Math.max(lastId, safe)));
  }

  async #look(order: EventOrder): Promise<void> {
    const { store, clock } = this.#deps;
    const nowMs = clock.nowMs();
    const found = await store.readEventsAfter(order.safe, eventsAtOnce);
    if (found.length === 0 && (await store.newestEventId()) < order.safe) {
      // The store was restored from a backup: it counts on from before.
      const { safe } = await this.#startOver();
      this.#sendAll(messageText("reset", {}, safe));
      this.#sendAll(this.#work);
      return;
    }
    const fresh = order.take(found, clock.monotonicMs());
    for (const event of fresh) {
      // A connection may break after any of them: only what was sent is behind the cursor.
      const cursor = event === fresh.at(-1) ? order.safe : Math.min(event.id, order.safe);
      this.#sendAll(this.#change(event, cursor));
    }
    await this.#tellPushes(nowMs);
    const work = await this.#readWork();
    if (work !== this.#work) this.#sendAll(work);
    this.#work = work;
    if (clock.monotonicMs() - this.#samplesMs >= sampleMs) {
      this.#samplesMs = clock.monotonicMs();
      this.#sendAll(messageText("samples", {}));
    }
    this.#lookedMs = nowMs;
  }

  async #tellPushes(nowMs: number): Promise<void> {
    const sinceMs = Math.min(this.#lookedMs, nowMs) - pushSlackMs;
    const pushed = await this.#deps.store.listPushedSince(sinceMs, pushesMax);
    for (const { id, name, generation, pushedMs } of pushed) {
      if ((this.#pushed.get(id)?.generation ?? -1) >= generation) continue;
      this.#pushed.set(id, { generation, pushedMs });
      this.#sendAll(messageText("push", { repository: name, generation, at: pushedMs }));
    }
    for (const [id, { pushedMs }] of this.#pushed) if (pushedMs < sinceMs - pushSlackMs) this.#pushed.delete(id);
  }

  async #readWork(): Promise<string> {
    const { store, membership } = this.#deps;
    const work = await store.listWork(workItemsMax);
    return messageText(
      "work",
      work.map((one) => workView(one, membership)),
    );
  }

  #nodes(): string {
    const nodes = this.#deps.membership.nodes().map((node) => {
      const { id, heartbeatMs, silentMs, diskUsage, loadAverage } = node;
      const state = nodeStateOf(node);
      return { id, state, timestamp: heartbeatMs, silentMs: Math.round(silentMs), diskUsage, load: loadAverage };
    });
    return messageText("nodes", nodes);
  }

  #change(event: ClusterEvent, cursor: number): string {
    return messageText("change", eventView(event, this.#deps.membership), cursor);
  }

  #sendAll(message: string, { begunOnly = true }: { readonly begunOnly?: boolean } = {}): void {
    for (const { watcher, begun } of this.#watchers) if (begun || !begunOnly) watcher.write(message);
  }
}
