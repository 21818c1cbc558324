/** One direction of a relayed connection: bytes in order, held or delayed as its link says, with back-pressure. */
import type { Socket } from "node:net";

export interface Passage {
  readonly held: boolean;
  /** Of the next bytes. */
  delayMs(): number;
}

const queueBytesMax = 1024 * 1024;

export class Pump {
  readonly #source: Socket;
  readonly #sink: Socket;
  readonly #passage: Passage;
  /** null is the end. */
  readonly #queue: { readonly chunk: Buffer | null; readonly dueMs: number }[] = [];
  #queuedBytes = 0;
  #lastDueMs = 0;
  #full = false;
  #discarding = false;
  #timer: NodeJS.Timeout | undefined;
  /** Bytes that came so far. */
  bytes = 0;
  onBytes: () => void = () => {};

  constructor(source: Socket, sink: Socket, passage: Passage) {
    this.#source = source;
    this.#sink = sink;
    this.#passage = passage;
    source.on("data", (chunk: Buffer) => this.#take(chunk));
    source.on("end", () => this.#take(null));
    sink.on("drain", () => {
      this.#full = false;
      this.flush();
    });
    sink.on("close", () => clearTimeout(this.#timer));
  }

  static bothWays(one: Socket, other: Socket, passage: Passage): readonly Pump[] {
    return [new Pump(one, other, passage), new Pump(other, one, passage)];
  }

  /** From now on bytes vanish. */
  discard(): void {
    this.#discarding = true;
    this.#queue.length = 0;
    this.#queuedBytes = 0;
    this.#source.resume();
  }

  /** Sends what is due. */
  flush(): void {
    clearTimeout(this.#timer);
    if (this.#sink.destroyed) return;
    while (!this.#passage.held && !this.#full) {
      const [next] = this.#queue;
      if (next === undefined) break;
      const leftMs = next.dueMs - performance.now();
      if (leftMs > 0) {
        this.#timer = setTimeout(() => this.flush(), Math.ceil(leftMs));
        break;
      }
      this.#queue.shift();
      if (next.chunk === null) {
        this.#sink.end();
        continue;
      }
      this.#queuedBytes -= next.chunk.length;
      this.#full = !this.#sink.write(next.chunk);
    }
    if (this.#queuedBytes <= queueBytesMax) this.#source.resume();
  }

  #take(chunk: Buffer | null): void {
    if (this.#discarding) return;
    this.#lastDueMs = Math.max(this.#lastDueMs, performance.now() + this.#passage.delayMs());
    this.#queue.push({ chunk, dueMs: this.#lastDueMs });
    this.bytes += chunk?.length ?? 0;
    this.#queuedBytes += chunk?.length ?? 0;
    if (this.#queuedBytes > queueBytesMax) this.#source.pause();
    this.onBytes();
    this.flush();
  }
}
