/** Reads JSON lines from the front of a body, and then the bytes that follow. */
import { GitmeshError } from "../base/errors.ts";

const lineBytesMax = 64 * 1024 * 1024;

export class JsonLineReader {
  readonly #iterator: AsyncIterator<Uint8Array>;
  #buffered: Buffer = Buffer.alloc(0);
  #ended = false;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#iterator = source[Symbol.asyncIterator]();
  }

  /** The next line's value; undefined at the end. */
  async next(): Promise<unknown> {
    const parts: Buffer[] = [];
    let bytes = 0;
    for (;;) {
      const newline = this.#buffered.indexOf(0x0a);
      if (newline >= 0) {
        parts.push(this.#buffered.subarray(0, newline));
        this.#buffered = this.#buffered.subarray(newline + 1);
        return parseLine(Buffer.concat(parts));
      }
      parts.push(this.#buffered);
      bytes += this.#buffered.length;
      if (bytes > lineBytesMax) throw new GitmeshError("too-large", "a line that is too long");
      this.#buffered = (await this.#chunk()) ?? Buffer.alloc(0);
      if (this.#ended) return bytes === 0 ? undefined : parseLine(Buffer.concat(parts));
    }
  }

  /** What follows the last line that was read. */
  async *rest(): AsyncGenerator<Buffer, void, undefined> {
    if (this.#buffered.length > 0) yield this.#buffered;
    for (;;) {
      const chunk = await this.#chunk();
      if (chunk === undefined) return;
      yield chunk;
    }
  }

  /** Reads the body to its end and drops it. Rejects when it breaks off. */
  async drain(): Promise<void> {
    this.#buffered = Buffer.alloc(0);
    while ((await this.#chunk()) !== undefined);
  }

  async #chunk(): Promise<Buffer | undefined> {
    const next = await this.#iterator.next();
    if (next.done !== true) return Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength);
    this.#ended = true;
    return undefined;
  }
}

function parseLine(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    throw new GitmeshError("bad-request", "a line that is not JSON");
  }
}
