/** A clock that stands still until it is told to go on. */
import { v7 as uuid } from "uuid";
import type { Clock } from "../../base/clock.ts";

export class ManualClock implements Clock {
  #nowMs = 0;
  readonly #wallMs: number;
  #timers: { readonly atMs: number; readonly callback: () => void }[] = [];

  constructor(wallMs = 1_000_000) {
    this.#wallMs = wallMs;
  }

  nowMs(): number {
    return this.#wallMs + this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted === true) resolve();
      this.timer(ms, resolve);
      signal?.addEventListener("abort", () => resolve(), { once: true });
    });
  }

  timer(ms: number, callback: () => void): () => void {
    const entry = { atMs: this.#nowMs + ms, callback };
    this.#timers.push(entry);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== entry);
    };
  }

  random(): number {
    return 0.5;
  }

  uuid(): string {
    return uuid();
  }

  advance(ms: number): void {
    this.#nowMs += ms;
    const due = this.#timers.filter(({ atMs }) => atMs <= this.#nowMs);
    this.#timers = this.#timers.filter(({ atMs }) => atMs > this.#nowMs);
    for (const { callback } of due) callback();
  }
}
