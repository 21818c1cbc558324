/**
 * Simulated time: events in the order of their time, each run to its end, with all that follows from it at the same
 * moment, before the next. Nothing else moves the clock, so a run depends on its seed alone.
 */
import { createHash, type Hash } from "node:crypto";

/** Something to happen at a time. */
interface Event {
  readonly atMs: number;
  /** Of two at one time the one that was scheduled first comes first. */
  readonly order: number;
  run: () => void;
  /** Its place in the heap; -1 when it is in no heap any more. */
  place: number;
}

export interface TraceOptions {
  /** Gets every line of the trace. */
  readonly onLine?: ((line: string) => void) | undefined;
  /** Whether the trace is hashed, to compare runs. */
  readonly hashed: boolean;
}

export class Simulation {
  /** Since the beginning, ms. */
  nowMs = 0;
  /** Number of the event that runs. */
  step = 0;
  readonly isTraced: boolean;
  readonly #heap: Event[] = [];
  readonly #onLine: ((line: string) => void) | undefined;
  readonly #hash: Hash | undefined;
  #order = 0;

  constructor(trace: TraceOptions) {
    this.#onLine = trace.onLine;
    this.#hash = trace.hashed ? createHash("sha256") : undefined;
    this.isTraced = trace.hashed || trace.onLine !== undefined;
  }

  /** Runs `run` in `ms` from now; the returned function cancels. */
  schedule(ms: number, run: () => void): () => void {
    const event: Event = { atMs: this.nowMs + Math.max(0, ms), order: this.#order++, run, place: this.#heap.length };
    this.#heap.push(event);
    this.#up(event);
    return () => this.#remove(event);
  }

  /** Lets time pass until `untilMs`, or until `done` says so after an event. */
  async run(untilMs: number, done: () => boolean = () => false): Promise<void> {
    await quiet();
    while (!done()) {
      const next = this.#heap[0];
      if (next === undefined || next.atMs > untilMs) {
        this.nowMs = untilMs;
        return;
      }
      this.#remove(next);
      this.nowMs = next.atMs;
      this.step += 1;
      next.run();
      await quiet();
    }
  }

  trace(line: string): void {
    if (!this.isTraced) return;
    const whole = `${(this.nowMs / 1000).toFixed(4).padStart(9)} ${line}`;
    this.#hash?.update(`${whole}\n`);
    this.#onLine?.(whole);
  }

  /** Of the trace so far; "" when it is not hashed. */
  traceHash(): string {
    return this.#hash?.copy().digest("hex") ?? "";
  }

  #remove(event: Event): void {
    const { place } = event;
    if (place < 0) return;
    event.place = -1;
    const last = this.#heap.pop();
    if (last === undefined || last === event) return;
    last.place = place;
    this.#heap[place] = last;
    this.#up(last);
    this.#down(last);
  }

  #up(event: Event): void {
    while (event.place > 0) {
      const parent = this.#heap[(event.place - 1) >> 1];
      if (parent === undefined || isBefore(parent, event)) return;
      this.#swap(parent, event);
    }
  }

  #down(event: Event): void {
    for (;;) {
      const left = this.#heap[2 * event.place + 1];
      const right = this.#heap[2 * event.place + 2];
      const child = left !== undefined && right !== undefined && isBefore(right, left) ? right : left;
      if (child === undefined || isBefore(event, child)) return;
      this.#swap(event, child);
    }
  }

  #swap(one: Event, other: Event): void {
    const { place } = one;
    one.place = other.place;
    other.place = place;
    this.#heap[one.place] = one;
    this.#heap[other.place] = other;
  }
}

function isBefore(one: Event, other: Event): boolean {
  return one.atMs < other.atMs || (one.atMs === other.atMs && one.order < other.order);
}

/** Resolves when every promise and stream has gone as far as it can without time passing. */
function quiet(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
