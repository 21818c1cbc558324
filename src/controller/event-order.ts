/**
 * Which events to send, and from where a client may go on: ids are given out before they are committed, so that a lower
 * one may appear after a higher one, and one whose transaction was given up never does. Pure.
 */
export interface Numbered {
  readonly id: number;
}

export class EventOrder {
  readonly #gapMs: number;
  /** Every event up to here is sent, or will never be. */
  #safe: number;
  /** Sent ones above. */
  readonly #sent = new Set<number>();
  #gapSinceMs: number | undefined;

  /** `gapMs`: longer than any transaction may last. */
  constructor(safe: number, gapMs: number) {
    this.#safe = safe;
    this.#gapMs = gapMs;
  }

  /** What to read after, and what a client may go on from. */
  get safe(): number {
    return this.#safe;
  }

  /** `found`: events above `safe`, in order. Returns those that were not sent yet. */
  take<E extends Numbered>(found: readonly E[], nowMs: number): readonly E[] {
    const fresh = found.filter(({ id }) => id > this.#safe && !this.#sent.has(id));
    for (const { id } of fresh) this.#sent.add(id);
    this.#advance();
    if (this.#sent.size === 0) this.#gapSinceMs = undefined;
    else if (this.#gapSinceMs === undefined) this.#gapSinceMs = nowMs;
    else if (nowMs - this.#gapSinceMs > this.#gapMs) {
      this.#safe = Math.min(...this.#sent) - 1;
      this.#gapSinceMs = undefined;
      this.#advance();
    }
    return fresh;
  }

  #advance(): void {
    while (this.#sent.delete(this.#safe + 1)) {
      this.#safe += 1;
      this.#gapSinceMs = undefined;
    }
  }
}
