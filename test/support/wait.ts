/** Waiting for a condition, with a limit: the tests' only way to wait. */
import { setTimeout as sleep } from "node:timers/promises";

export interface WaitOptions {
  /** For the failure's message, as in "node-2 to be READY". */
  readonly what: string;
  readonly limitMs?: number;
}

const pollMs = 40;
const defaultLimitMs = 30_000;

/**
 * Polls until the condition gives something other than false or undefined, and gives that. A condition that throws is
 * not met yet; its last error is part of the failure.
 */
export async function waitFor<T>(
  condition: () => T | false | undefined | Promise<T | false | undefined>,
  { what, limitMs = defaultLimitMs }: WaitOptions,
): Promise<T> {
  const endMs = performance.now() + limitMs;
  for (;;) {
    let last = "";
    try {
      const value = await condition();
      if (value !== false && value !== undefined) return value;
    } catch (error) {
      last = `; last: ${error instanceof Error ? error.message : String(error)}`;
    }
    if (performance.now() > endMs) throw new Error(`waited ${limitMs} ms for ${what}${last}`);
    await sleep(pollMs);
  }
}

/** The promise's value, or a failure that names what took too long. */
export async function within<T>(limitMs: number, what: string, promise: Promise<T>): Promise<T> {
  const cancel = new AbortController();
  const limit = sleep(limitMs, undefined, { signal: cancel.signal }).then(
    () => Promise.reject(new Error(`${what} took longer than ${limitMs} ms`)),
    () => new Promise<never>(() => {}),
  );
  try {
    return await Promise.race([promise, limit]);
  } finally {
    cancel.abort();
  }
}
