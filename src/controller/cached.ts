/** What costs much to read: read once for all who ask within a time, and never twice at once. */
import type { Clock } from "../base/clock.ts";

export interface CachedOptions {
  /** How old an answer may be. */
  readonly keepMs: number;
  readonly clock: Clock;
}

export class Cached<T> {
  readonly #read: () => Promise<T>;
  readonly #options: CachedOptions;
  #known: { readonly value: T; readonly atMs: number } | undefined;
  #reading: Promise<T> | undefined;

  constructor(read: () => Promise<T>, options: CachedOptions) {
    this.#read = read;
    this.#options = options;
  }

  /** Throws what the read throws; that is not kept. */
  async get(): Promise<T> {
    const { keepMs, clock } = this.#options;
    const known = this.#known;
    if (known !== undefined && clock.monotonicMs() - known.atMs < keepMs) return known.value;
    return this.fresh();
  }

  /** Not what was read before, but maybe what is being read. */
  fresh(): Promise<T> {
    this.#reading ??= this.#readAndKeep().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #readAndKeep(): Promise<T> {
    // As of the beginning: what changes meanwhile may not be in it.
    const atMs = this.#options.clock.monotonicMs();
    const value = await this.#read();
    this.#known = { value, atMs };
    return value;
  }
}
