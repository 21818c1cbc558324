/**
 * Holds the store's lease for background work, which one controller has as a rule. No wall clocks are compared:
 * another's lease is taken when the store's record of it has not changed for its whole time, by our own monotonic
 * clock. What is done under it is safe to be done twice all the same; the lease saves work, correctness does not rest
 * on it.
 */
import type { Clock } from "../base/clock.ts";
import { crashPoint } from "../base/crash-point.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Lease, Store } from "../store/store.ts";

export interface LeaseOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
  /** What the lease is for. */
  readonly name: string;
  /** Unique to this start of this controller. */
  readonly holder: string;
  readonly leaseMs: number;
  /** Told after each attempt whether the store could do what it was asked. */
  readonly onAttempt?: (done: boolean) => void;
}

export class LeaseKeeper {
  readonly #options: LeaseOptions;
  #held: { readonly fencing: number; readonly abort: AbortController } | undefined;
  #cancelExpiry: () => void = () => {};
  /** Another's lease as it was last seen, and since when it has been so. */
  #others: { readonly lease: Lease; readonly sinceMs: number } | undefined;

  constructor(options: LeaseOptions) {
    this.#options = options;
  }

  get isHolder(): boolean {
    return this.#held !== undefined;
  }

  /** Grows with each change of holder; undefined when this controller is not it. */
  get fencing(): number | undefined {
    return this.#held?.fencing;
  }

  /** Aborts when the lease is lost; undefined when it is not held. */
  get signal(): AbortSignal | undefined {
    return this.#held?.abort.signal;
  }

  /** Takes and renews the lease until the signal aborts, then gives it back. */
  async run(signal: AbortSignal): Promise<void> {
    const { store, clock, log, name, holder, leaseMs, onAttempt } = this.#options;
    while (!signal.aborted) {
      try {
        await this.tryOnce();
        onAttempt?.(true);
      } catch (error) {
        onAttempt?.(false);
        // The lease that is held runs out by itself.
        log.debug({ error: messageOf(error) }, "cannot renew the lease");
      }
      await clock.sleep(leaseMs / 3, signal);
    }
    const held = this.#held !== undefined;
    this.#lose("stopping");
    try {
      if (held) await store.releaseLease(name, holder);
      crashPoint("lease.released");
    } catch (error) {
      log.debug({ error: messageOf(error) }, "cannot release the lease");
    }
  }

  /** One attempt to take or renew it. Throws "store-unavailable". */
  async tryOnce(): Promise<void> {
    const { store, clock, log, name, holder, leaseMs } = this.#options;
    const askedMs = clock.monotonicMs();
    const ranOut = this.#others !== undefined && askedMs - this.#others.sinceMs >= leaseMs;
    const unrenewed = ranOut ? this.#others?.lease : undefined;
    const lease = await store.acquireLease(name, holder, leaseMs, clock.nowMs(), unrenewed);
    if (lease.holder !== holder) {
      this.#lose("another controller has it");
      const { fencing, expiresMs } = this.#others?.lease ?? {};
      const renewed = lease.fencing !== fencing || lease.expiresMs !== expiresMs;
      // From after the answer: its holder counts from before its own question.
      if (renewed) this.#others = { lease, sinceMs: clock.monotonicMs() };
      return;
    }
    this.#others = undefined;
    // Counted from before the question: the store's copy cannot end earlier than ours.
    const leftMs = askedMs + leaseMs - clock.monotonicMs();
    if (leftMs <= 0) {
      this.#lose("the store was too slow");
      return;
    }
    crashPoint("lease.taken");
    if (this.#held?.fencing !== lease.fencing) {
      this.#lose("it changed hands");
      this.#held = { fencing: lease.fencing, abort: new AbortController() };
      log.info({ lease: name, fencing: lease.fencing }, "this controller runs the background work");
    }
    this.#cancelExpiry();
    this.#cancelExpiry = clock.timer(leftMs, () => this.#lose("it ran out"));
  }

  #lose(reason: string): void {
    this.#cancelExpiry();
    const held = this.#held;
    if (held === undefined) return;
    this.#held = undefined;
    held.abort.abort();
    this.#options.log.info({ lease: this.#options.name, reason }, "this controller no longer runs the background work");
  }
}
