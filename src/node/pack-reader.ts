/** A pack on its way to git: counts its bytes and reads from its header how many objects it says to have (gitformat-pack). */
const headerBytes = 12;
const objectsOffset = 8;

export class PackReader implements AsyncIterable<Uint8Array> {
  readonly #source: AsyncIterable<Uint8Array>;
  #header = Buffer.alloc(0);
  #bytes = 0;
  #brokeOff = false;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source;
  }

  /** Of those read so far. */
  get bytes(): number {
    return this.#bytes;
  }

  get objects(): number {
    return this.#header.length < headerBytes ? 0 : this.#header.readUInt32BE(objectsOffset);
  }

  /** True when the source failed: whoever sends the pack is gone. */
  get brokeOff(): boolean {
    return this.#brokeOff;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for await (const chunk of this.#source) {
        this.#bytes += chunk.length;
        if (this.#header.length < headerBytes) {
          this.#header = Buffer.concat([this.#header, chunk.subarray(0, headerBytes)]);
        }
        yield chunk;
      }
    } catch (error) {
      this.#brokeOff = true;
      throw error;
    }
  }
}
