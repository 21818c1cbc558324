/**
 * Has queries fetched again, by the first word of their key. What comes together is one fetch; the next one begins when
 * the one before is over, and not too soon. None is broken off: events that come faster than answers would leave a page
 * old for ever.
 */
import type { QueryClient } from "@tanstack/vue-query";

/** The browser's timers and clock; tests have their own. */
export interface Timing {
  nowMs(): number;
  /** Calls back once; what is returned cancels it. */
  timer(ms: number, act: () => void): () => void;
}

/** Events of this time are answered together. */
const gatherMs = 300;
/** Between the end of a fetch and the next one; what is dear to answer is asked for less often. */
const pauseMs = 1000;
const pausesMs: Readonly<Record<string, number>> = {
  repositories: 2000,
  events: 2000,
  "node-replicas": 2000,
  refs: 2000,
  nodes: 2000,
  repair: 5000,
  copies: 60_000,
};

interface Lane {
  running: boolean;
  /** Asked for while it ran. */
  again: boolean;
  cancel: (() => void) | undefined;
  endedMs: number;
}

export class Refetching {
  readonly #queries: QueryClient;
  readonly #timing: Timing;
  readonly #lanes = new Map<string, Lane>();

  constructor(queries: QueryClient, timing: Timing) {
    this.#queries = queries;
    this.#timing = timing;
  }

  /** Soon, once for all who ask until then. */
  ask(...subjects: readonly string[]): void {
    for (const subject of subjects) {
      const lane = this.#lane(subject);
      if (lane.running) lane.again = true;
      else this.#schedule(subject, lane);
    }
  }

  /** All that is known. */
  everything(): void {
    const queries = this.#queries.getQueryCache().getAll();
    this.ask(...new Set(queries.map(({ queryKey }) => String(queryKey[0]))));
  }

  stop(): void {
    for (const { cancel } of this.#lanes.values()) cancel?.();
    this.#lanes.clear();
  }

  #lane(subject: string): Lane {
    let lane = this.#lanes.get(subject);
    if (lane === undefined) {
      lane = { running: false, again: false, cancel: undefined, endedMs: -Infinity };
      this.#lanes.set(subject, lane);
    }
    return lane;
  }

  #schedule(subject: string, lane: Lane): void {
    if (lane.cancel !== undefined) return;
    const sinceMs = this.#timing.nowMs() - lane.endedMs;
    lane.cancel = this.#timing.timer(Math.max(gatherMs, (pausesMs[subject] ?? pauseMs) - sinceMs), () => {
      lane.cancel = undefined;
      void this.#run(subject, lane);
    });
  }

  async #run(subject: string, lane: Lane): Promise<void> {
    lane.running = true;
    const filters = { queryKey: [subject] };
    const underWay = new Set(this.#queries.getQueryCache().findAll({ ...filters, fetchStatus: "fetching" }));
    await this.#queries.invalidateQueries(filters, { cancelRefetch: false });
    // These may have been read before the change that this is about.
    if (underWay.size > 0) {
      await this.#queries.invalidateQueries({ predicate: (query) => underWay.has(query) }, { cancelRefetch: false });
    }
    lane.running = false;
    lane.endedMs = this.#timing.nowMs();
    const isOurs = this.#lanes.get(subject) === lane;
    if (lane.again && isOurs) this.#schedule(subject, lane);
    lane.again = false;
  }
}
