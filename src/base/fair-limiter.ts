/**
 * At most so much work at a time. Who waits is served in turn by key (a repository), so that one busy repository does
 * not starve the others; when too many wait, or one waits for too long, the next is refused as busy.
 */
import type { Clock } from "./clock.ts";
import { GitmeshError } from "./errors.ts";

export interface Limits {
  readonly runningMax: number;
  readonly waitingMax: number;
  /** How long one waits; undefined: as long as it takes. */
  readonly waitMs?: number | undefined;
  /** What work, for the refusal, as in "git process". */
  readonly what: string;
}

interface Waiter {
  readonly start: () => void;
}

/** Gives a place back; calling it again does nothing. */
type Release = () => void;

export class FairLimiter {
  readonly #limits: Limits;
  readonly #clock: Clock;
  /** Insertion order is the order of turns. */
  readonly #queues = new Map<string, Waiter[]>();
  #running = 0;
  #waiting = 0;

  constructor(limits: Limits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
  }

  /** Throws "busy" when one more would be refused now. */
  check(): void {
    if (this.#running >= this.#limits.runningMax) this.#checkQueue();
  }

  /** Resolves with what gives the place back, when it is this key's turn. Throws "busy". */
  async enter(key: string, signal: AbortSignal | undefined): Promise<Release> {
    signal?.throwIfAborted();
    if (this.#running < this.#limits.runningMax) this.#running += 1;
    else await this.#wait(key, signal);
    let released = false;
    return () => {
      if (!released) this.#release();
      released = true;
    };
  }

  /** Runs `work` when it is this key's turn. Throws "busy". */
  async run<T>(key: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    const release = await this.enter(key, signal);
    try {
      return await work();
    } finally {
      release();
    }
  }

  /**
   * The same for work that another one's progress waits for: when its turn is not at once, `meanwhile` runs first, and
   * only then does it wait. Throws "busy" before that when too many wait already.
   */
  async runAfter<T>(
    key: string,
    signal: AbortSignal | undefined,
    meanwhile: () => Promise<void>,
    work: () => Promise<T>,
  ): Promise<T> {
    if (this.#running < this.#limits.runningMax) return this.run(key, signal, work);
    this.#checkQueue();
    this.#waiting += 1;
    try {
      await meanwhile();
    } finally {
      this.#waiting -= 1;
    }
    return this.run(key, signal, work);
  }

  #checkQueue(): void {
    if (this.#waiting < this.#limits.waitingMax) return;
    throw new GitmeshError("busy", `too many requests wait for their turn (${this.#limits.what}); try again shortly`);
  }

  async #wait(key: string, signal: AbortSignal | undefined): Promise<void> {
    this.#checkQueue();
    this.#waiting += 1;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter: Waiter = { start: resolve };
    const queue = this.#queues.get(key) ?? [];
    queue.push(waiter);
    this.#queues.set(key, queue);
    const leave = (reason: Error): void => {
      const position = queue.indexOf(waiter);
      if (position < 0) return;
      queue.splice(position, 1);
      if (queue.length === 0 && this.#queues.get(key) === queue) this.#queues.delete(key);
      this.#waiting -= 1;
      reject(reason);
    };
    const { waitMs, what } = this.#limits;
    const abort = (): void => leave(signal?.reason as Error);
    const tooLong = (): void =>
      leave(new GitmeshError("busy", `this request had no turn (${what}) within ${waitMs} ms; try again shortly`));
    const cancel = waitMs === undefined ? undefined : this.#clock.timer(waitMs, tooLong);
    signal?.addEventListener("abort", abort, { once: true });
    try {
      await promise;
    } finally {
      signal?.removeEventListener("abort", abort);
      cancel?.();
    }
  }

  /** Hands the place on to the next key in turn. */
  #release(): void {
    const next = this.#queues.entries().next().value;
    if (next === undefined) {
      this.#running -= 1;
      return;
    }
    const [key, queue] = next;
    const waiter = queue.shift();
    this.#queues.delete(key);
    if (queue.length > 0) this.#queues.set(key, queue);
    this.#waiting -= 1;
    waiter?.start();
  }
}
