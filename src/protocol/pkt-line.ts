/** pkt-line framing and the side band (gitprotocol-common, gitprotocol-pack). */
import { GitmeshError } from "../base/errors.ts";

export type Pkt =
  | { readonly kind: "data"; readonly data: Buffer }
  | { readonly kind: "flush" }
  | { readonly kind: "delim" }
  | { readonly kind: "response-end" };

/** Largest pkt, its four digits of length included. */
const pktBytesMax = 65_520;
const dataBytesMax = pktBytesMax - 4;

export const flushPkt: Buffer = Buffer.from("0000");
export const delimPkt: Buffer = Buffer.from("0001");
export const responseEndPkt: Buffer = Buffer.from("0002");

/** One data pkt; a string is encoded as UTF-8. Throws RangeError over 65,516 bytes. */
export function pktLine(data: string | Uint8Array): Buffer {
  const bytes = typeof data === "string" ? Buffer.from(data, "utf8") : data;
  if (bytes.length > dataBytesMax) throw new RangeError(`a pkt-line holds at most ${dataBytesMax} bytes`);
  const pkt = Buffer.allocUnsafe(bytes.length + 4);
  pkt.write(pktLength(bytes.length), 0, "latin1");
  pkt.set(bytes, 4);
  return pkt;
}

/** The four digits in front of `dataBytes` bytes. */
export function pktLength(dataBytes: number): string {
  return (dataBytes + 4).toString(16).padStart(4, "0");
}

/** Data on a band (1 data, 2 progress, 3 fatal error), in as many pkts as it takes. */
export function sideBand(band: 1 | 2 | 3, data: Uint8Array | string, packetBytesMax: number = pktBytesMax): Buffer {
  const bytes = typeof data === "string" ? Buffer.from(data, "utf8") : data;
  const room = packetBytesMax - 5;
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
  #chunks: Buffer[] = [];
  #buffered = 0;
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
    if (!(await this.#fill(4))) {
      if (this.#buffered === 0) return undefined;
      throw new GitmeshError("bad-request", "the request ends in the middle of a pkt-line");
    }
    const digits = this.#take(4).toString("latin1");
    if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw new GitmeshError("bad-request", "a pkt-line without a valid length");
    const length = Number.parseInt(digits, 16);
    if (length === 0) return { kind: "flush" };
    if (length === 1) return { kind: "delim" };
    if (length === 2) return { kind: "response-end" };
    if (length === 3 || length > pktBytesMax) {
      throw new GitmeshError("bad-request", "a pkt-line without a valid length");
    }
    if (!(await this.#fill(length - 4))) {
      throw new GitmeshError("bad-request", "the request ends in the middle of a pkt-line");
    }
    return { kind: "data", data: this.#take(length - 4) };
  }

  /** What follows the last pkt. To be iterated once; ends the source when it is left early. */
  async *rest(): AsyncGenerator<Buffer, void, undefined> {
    try {
      for (const chunk of this.#chunks.splice(0)) {
        this.#buffered -= chunk.length;
        if (chunk.length > 0) yield chunk;
      }
      while (!this.#ended) {
        const next = await this.#iterator.next();
        if (next.done === true) {
          this.#ended = true;
          return;
        }
        if (next.value.length > 0) yield asBuffer(next.value);
      }
    } finally {
      if (!this.#ended) await this.#iterator.return?.();
    }
  }

  /** Whether `bytes` bytes are there, reading on as needed. */
  async #fill(bytes: number): Promise<boolean> {
    while (this.#buffered < bytes && !this.#ended) {
      const next = await this.#iterator.next();
      if (next.done === true) {
        this.#ended = true;
      } else if (next.value.length > 0) {
        this.#chunks.push(asBuffer(next.value));
        this.#buffered += next.value.length;
      }
    }
    return this.#buffered >= bytes;
  }

  #take(bytes: number): Buffer {
    this.#buffered -= bytes;
    this.#bytesRead += bytes;
    const first = this.#chunks[0];
    if (first !== undefined && first.length >= bytes) {
      this.#advance(first, bytes);
      return first.subarray(0, bytes);
    }
    const whole = Buffer.allocUnsafe(bytes);
    let filled = 0;
    while (filled < bytes) {
      const chunk = this.#chunks[0];
      if (chunk === undefined) break;
      const part = chunk.subarray(0, bytes - filled);
      whole.set(part, filled);
      filled += part.length;
      this.#advance(chunk, part.length);
    }
    return whole;
  }

  #advance(first: Buffer, bytes: number): void {
    if (first.length === bytes) this.#chunks.shift();
    else this.#chunks[0] = first.subarray(bytes);
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
