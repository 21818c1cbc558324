/** pkt-line framing and the side band (gitprotocol-common, gitprotocol-pack). */
import { GitmeshError } from "../base/errors.ts";

export type Pkt =
  | { readonly kind: "data"; readonly data: Buffer }
  | { readonly kind: "flush" }
  | { readonly kind: "delim" }
  | { readonly kind: "response-end" };

/** Largest pkt, its four digits of length included. */
const pktBytesMax = 65_520;
/** Most data in one pkt. */
export const pktDataBytesMax: number = pktBytesMax - 4;

export const flushPkt: Buffer = Buffer.from("0000");
export const delimPkt: Buffer = Buffer.from("0001");
export const responseEndPkt: Buffer = Buffer.from("0002");

/** One data pkt; a string is encoded as UTF-8. Throws RangeError over 65,516 bytes. */
export function pktLine(data: string | Uint8Array): Buffer {
  const bytes = typeof data === "string" ? Buffer.from(data, "utf8") : data;
  if (bytes.length > pktDataBytesMax) throw new RangeError(`a pkt-line holds at most ${pktDataBytesMax} bytes`);
  const pkt = Buffer.allocUnsafe(bytes.length + 4);
  pkt.write(pktLength(bytes.length), 0, "latin1");
  pkt.set(bytes, 4);
  return pkt;
}

/** The four digits in front of `dataBytes` bytes. */
export function pktLength(dataBytes: number): string {
  return (dataBytes + 4).toString(16).padStart(4, "0");
}

/**
 * Data on a band (1 data, 2 progress, 3 fatal error), in as many pkts as it takes; none for no data.
 * Throws RangeError when `packetBytesMax` has no room for data or is more than a pkt holds.
 */
export function sideBand(band: 1 | 2 | 3, data: Uint8Array | string, packetBytesMax: number = pktBytesMax): Buffer {
  const bytes = typeof data === "string" ? Buffer.from(data, "utf8") : data;
  const room = packetBytesMax - 5;
  if (room < 1 || packetBytesMax > pktBytesMax) throw new RangeError(`a packet has 6 to ${pktBytesMax} bytes`);
  const parts: Buffer[] = [];
  for (let start = 0; start < bytes.length; start += room) {
    const part = bytes.subarray(start, start + room);
    const pkt = Buffer.allocUnsafe(part.length + 5);
    pkt.write(pktLength(part.length + 1), 0, "latin1");
    pkt[4] = band;
    pkt.set(part, 5);
    parts.push(pkt);
  }
  return Buffer.concat(parts);
}

/** Reads pkts from the front of a stream, and then what follows them. Holds at most one pkt and one chunk. */
export class PktReader {
  readonly #iterator: AsyncIterator<Uint8Array>;
  /** What is left of the newest chunk. */
  #chunk: Buffer = Buffer.alloc(0);
  #ended = false;
  #bytesRead = 0;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#iterator = source[Symbol.asyncIterator]();
  }

  /** Bytes of pkts that were read. */
  get bytesRead(): number {
    return this.#bytesRead;
  }

  /** The next pkt; undefined at a clean end of input. Throws GitmeshError "bad-request" for anything malformed. */
  async next(): Promise<Pkt | undefined> {
    if (this.#chunk.length === 0 && !(await this.#more())) return undefined;
    const digits = (this.#view(4) ?? (await this.#collect(4))).toString("latin1");
    if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw new GitmeshError("bad-request", "a pkt-line without a valid length");
    const length = Number.parseInt(digits, 16);
    if (length === 0) return { kind: "flush" };
    if (length === 1) return { kind: "delim" };
    if (length === 2) return { kind: "response-end" };
    if (length === 3 || length > pktBytesMax) {
      throw new GitmeshError("bad-request", "a pkt-line without a valid length");
    }
    return { kind: "data", data: this.#view(length - 4) ?? (await this.#collect(length - 4)) };
  }

  /**
   * What follows the last pkt, as the source gives it. Leaving it early leaves the source open: another `rest()` goes on
   * where this one was left.
   */
  async *rest(): AsyncGenerator<Buffer, void, undefined> {
    while (await this.#more()) {
      const chunk = this.#chunk;
      this.#chunk = chunk.subarray(chunk.length);
      yield chunk;
    }
  }

  /** Makes `#chunk` hold at least one byte; false at the end of input. */
  async #more(): Promise<boolean> {
    while (this.#chunk.length === 0 && !this.#ended) {
      const next = await this.#iterator.next();
      if (next.done === true) this.#ended = true;
      else this.#chunk = asBuffer(next.value);
    }
    return this.#chunk.length > 0;
  }

  /** The next bytes of a pkt where the chunk has them all: nothing is copied or waited for. */
  #view(bytes: number): Buffer | undefined {
    if (this.#chunk.length < bytes) return undefined;
    this.#bytesRead += bytes;
    return this.#takeOfChunk(bytes);
  }

  /** The next bytes of a pkt, collected from as many chunks as it takes. */
  async #collect(bytes: number): Promise<Buffer> {
    const whole = Buffer.allocUnsafe(bytes);
    for (let filled = 0; filled < bytes;) {
      if (!(await this.#more())) throw new GitmeshError("bad-request", "the request ends in the middle of a pkt-line");
      const part = this.#takeOfChunk(bytes - filled);
      whole.set(part, filled);
      filled += part.length;
    }
    this.#bytesRead += bytes;
    return whole;
  }

  /** At most `bytes` bytes of the chunk. */
  #takeOfChunk(bytes: number): Buffer {
    const part = this.#chunk.subarray(0, bytes);
    this.#chunk = this.#chunk.subarray(part.length);
    return part;
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
