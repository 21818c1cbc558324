/**
 * Time and randomness, handed in so that tests can replace them.
 * This is the only file that touches Date, timers and Math.random.
 */
import { v7 as uuid } from "uuid";

export interface Clock {
  /** Wall-clock time in ms since 1970; for records and heartbeats, never for order. */
  nowMs(): number;
  /** Monotonic time in ms; for durations. */
  monotonicMs(): number;
  /** Resolves after `ms`, or at once when the signal aborts (never rejects). */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls back once after `ms`; the returned function cancels. Does not keep the process alive. */
  timer(ms: number, callback: () => void): () => void;
  /** A number in [0, 1). */
  random(): number;
  /** A new UUID, of version 7: those made later sort later. */
  uuid(): string;
}

/** A moment (ms since 1970) for people, in UTC, as in "2026-11-24 12:00:00 UTC"; "never" for -1. */
export function momentText(ms: number): string {
  return ms < 0 ? "never" : `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep(ms, signal) {
    return new Promise((resolve) => {
      if (signal?.aborted === true) {
        resolve();
        return;
      }
      const done = (): void => {
        clearTimeout(timeout);
        signal?.removeEventListener("abort", done);
        resolve();
      };
      const timeout = setTimeout(done, ms);
      signal?.addEventListener("abort", done, { once: true });
    });
  },
  timer(ms, callback) {
    const timeout = setTimeout(callback, ms);
    timeout.unref();
    return () => clearTimeout(timeout);
  },
  random: () => Math.random(),
  uuid: () => uuid(),
};
