/** When something that failed may be tried again: after a second, then twice as long each time, at most 20 s. */
import type { Clock } from "../base/clock.ts";

const firstMs = 1000;
const longestMs = 20_000;
const keysMax = 100_000;

export class Backoff {
  readonly #clock: Clock;
  readonly #waits = new Map<string, { readonly untilMs: number; readonly delayMs: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  isDue(key: string): boolean {
    return (this.#waits.get(key)?.untilMs ?? 0) <= this.#clock.monotonicMs();
  }

  failed(key: string): void {
    const delayMs = Math.min(longestMs, 2 * (this.#waits.get(key)?.delayMs ?? firstMs / 2));
    // Whoever is forgotten is only tried sooner.
    if (this.#waits.size >= keysMax) this.#waits.clear();
    this.#waits.set(key, { untilMs: this.#clock.monotonicMs() + delayMs, delayMs });
  }

  succeeded(key: string): void {
    this.#waits.delete(key);
  }
}
