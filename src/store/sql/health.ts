/**
 * Whether the database answers: a circuit breaker for all calls of one store. Calls report what looks bad (suspect);
 * connections of its own then find out. While the database is known to be down every call fails at once, so that no
 * request waits for what will not come, and the database is asked again in the background until it answers.
 *
 * Not a judge of single statements: a database that answers and refuses (read-only, disk full) is up.
 */
import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import { ConnectionLostError } from "./session.ts";

export interface HealthOptions {
  /** Asks the database something small over a new connection. */
  readonly probe: (limitMs: number) => Promise<void>;
  /** Ends everything that waits for the database. */
  readonly interrupt: (reason: ConnectionLostError) => void;
  /** Called when the database answers again. */
  readonly onRecovery: () => void;
  readonly probeMs: number;
  readonly clock: Clock;
  readonly log: Logger | undefined;
}

/** One connection may die of itself. */
const failuresMax = 2;
const retryMs = 250;
/** A probe connects and asks, each for `probeMs` at most. */
const stoodStillFactor = 3;

export class StoreHealth {
  readonly #options: HealthOptions;
  #down: { readonly sinceMs: number; readonly reason: ConnectionLostError } | undefined;
  #judging = false;
  #closed = false;
  #waiters: (() => void)[] = [];

  constructor(options: HealthOptions) {
    this.#options = options;
  }

  get isDown(): boolean {
    return this.#down !== undefined;
  }

  /** Throws ConnectionLostError while the database is known to be down. */
  check(): void {
    if (this.#down !== undefined) throw this.#down.reason;
  }

  /** A connection broke or took too long: finds out whether that is the database. */
  suspect(): void {
    if (this.#judging || this.#closed) return;
    this.#judging = true;
    void this.#judge();
  }

  /** Resolves when the database is not known to be down, or after `limitMs`. */
  up(limitMs: number): Promise<void> {
    if (this.#down === undefined || this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      const cancel = this.#options.clock.timer(limitMs, resolve);
      this.#waiters.push(() => {
        cancel();
        resolve();
      });
    });
  }

  close(): void {
    this.#closed = true;
    this.#release();
  }

  /** Ends when the database answers. Never rejects. */
  async #judge(): Promise<void> {
    const { probe, probeMs, clock, log } = this.#options;
    for (let failures = 0; !this.#closed;) {
      const startMs = clock.monotonicMs();
      try {
        await probe(probeMs);
        break;
      } catch (error) {
        // When the time-out itself came far too late, it is this process that stood still.
        if (clock.monotonicMs() - startMs < stoodStillFactor * probeMs) failures += 1;
        if (failures === failuresMax) this.#fall(error);
        // A timer keeps no process alive.
        if (failures >= failuresMax) await new Promise<void>((resolve) => clock.timer(retryMs, resolve));
      }
    }
    this.#judging = false;
    const down = this.#down;
    if (down === undefined || this.#closed) return;
    this.#down = undefined;
    log?.info({ downMs: Math.round(clock.monotonicMs() - down.sinceMs) }, "the metadata store answers again");
    this.#options.onRecovery();
    this.#release();
  }

  #fall(error: unknown): void {
    const { clock, log, interrupt } = this.#options;
    if (this.#closed) return;
    const reason = new ConnectionLostError("the database does not answer", error);
    this.#down = { sinceMs: clock.monotonicMs(), reason };
    log?.error(
      { error: messageOf(error) },
      "the metadata store does not answer; requests that need it are refused until it does",
    );
    interrupt(reason);
  }

  #release(): void {
    for (const resolve of this.#waiters.splice(0)) resolve();
  }
}
