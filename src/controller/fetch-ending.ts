/**
 * Whether the answer to a fetch was given to its end by git, read from its pkt-lines while it passes (gitprotocol-v2,
 * gitprotocol-pack).
 *
 * git says nothing of a failure where it cannot: an answer that it gave up merely stops. A pack on the side band is
 * followed by a flush-pkt only when pack-objects succeeded (upload-pack.c, create_pack_file), and so is a round of
 * acknowledgments of protocol v2. Whatever else there is counts as not known: rounds of v0, packs without a side band.
 */

/** The longest beginning of a pkt-line that says something. */
const acknowledgments = "acknowledgments";

export class FetchEnding {
  /** Of the length, as far as it came. */
  #digits = "";
  /** Bytes that the pkt-line still has. */
  #left = 0;
  /** How the pkt-line begins. */
  #beginning = "";
  #lines = 0;
  #isFlush = false;
  #hasObjects = false;
  #isRound = false;
  #failed = false;

  /** The next bytes of the answer. */
  add(chunk: Buffer): void {
    for (let at = 0; at < chunk.length && !this.#failed;) {
      const bytes = this.#left > 0 ? this.#data(chunk, at) : this.#length(chunk, at);
      at += bytes;
    }
  }

  /** Of all that was added. */
  get isWhole(): boolean {
    const atEnd = this.#isFlush && this.#digits === "" && this.#left === 0;
    return atEnd && !this.#failed && (this.#hasObjects || this.#isRound);
  }

  /** Gives how many bytes it took. */
  #length(chunk: Buffer, at: number): number {
    const digits = chunk.toString("latin1", at, Math.min(at + 4 - this.#digits.length, chunk.length));
    this.#digits += digits;
    if (this.#digits.length === 4) {
      const length = /^[0-9a-f]{4}$/i.test(this.#digits) ? Number.parseInt(this.#digits, 16) : -1;
      this.#digits = "";
      this.#beginning = "";
      this.#isFlush = length === 0;
      this.#left = Math.max(0, length - 4);
      if (length < 0 || length === 3) this.#failed = true;
    }
    return digits.length;
  }

  #data(chunk: Buffer, at: number): number {
    const bytes = Math.min(this.#left, chunk.length - at);
    const missing = acknowledgments.length - this.#beginning.length;
    if (missing > 0) this.#beginning += chunk.toString("latin1", at, at + Math.min(missing, bytes));
    this.#left -= bytes;
    if (this.#left === 0) this.#line(this.#beginning);
    return bytes;
  }

  #line(beginning: string): void {
    this.#lines += 1;
    if (beginning.startsWith("\u0001")) this.#hasObjects = true;
    // The side band's word of a fatal error, and protocol v2's.
    if (beginning.startsWith("\u0003") || beginning.startsWith("ERR ")) this.#failed = true;
    if (this.#lines === 1 && beginning === acknowledgments) this.#isRound = true;
  }
}
