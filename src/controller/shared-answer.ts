/**
 * One answer to a fetch, given to everyone who asks the same while it is made, and afterwards as long as it is kept.
 *
 * It is written to a file as fast as it comes, and each reader takes it at a pace of its own: what has just come from
 * memory, anything before from the file. An answer that cannot be stored (any further) goes on without the file: then
 * at the pace of its slowest reader, and nobody may join it any more.
 */
import type { FileHandle } from "node:fs/promises";
import { Readable } from "node:stream";
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import { FetchEnding } from "./fetch-ending.ts";

export interface BegunAnswer {
  readonly answer: Readable;
  /** False for one that another replica, or a later moment, may answer otherwise. */
  readonly kept: boolean;
}

/** What the cache does for its answers. */
export interface AnswerKeeper {
  readonly clock: Clock;
  /** A file of its own; undefined when there can be none. */
  open(): Promise<FileHandle | undefined>;
  /** Whether so many bytes more may be stored: they count from then on. */
  takeRoom(bytes: number): boolean;
  giveRoomBack(bytes: number): void;
  /** The file cannot be written or read. */
  failed(error: unknown): void;
  /** It must not be joined any more. */
  drop(): void;
}

export interface SharedAnswerOptions {
  /** Among several readers of an answer that is not stored: how long the others wait for one, ms. */
  readonly stepMs: number;
}

const readBytesMax = 128 * 1024;

export class SharedAnswer {
  /** Resolves when the answer has begun; rejects when it could not. */
  readonly begun: Promise<void>;
  readonly begunMs: number;
  readonly #keeper: AnswerKeeper;
  readonly #options: SharedAnswerOptions;
  readonly #abort = new AbortController();
  readonly #readers = new Set<AnswerReader>();
  readonly #begins = Promise.withResolvers<void>();
  #file: FileHandle | undefined;
  #storedBytes = 0;
  /** Nothing more is stored. */
  #outgrown = false;
  /** What came last, and what came before it in bytes. */
  #chunk: Buffer = Buffer.alloc(0);
  #chunkStart = 0;
  #state: "made" | "ended" | "failed" = "made";
  #failure: Error | undefined;
  #isComplete = false;
  #dropped = false;
  /** There is more to read, or no more. */
  #grown = Promise.withResolvers<void>();
  /** A reader took something, or left. */
  #taken = Promise.withResolvers<void>();

  constructor(keeper: AnswerKeeper, options: SharedAnswerOptions) {
    this.#keeper = keeper;
    this.#options = options;
    this.begunMs = keeper.clock.monotonicMs();
    this.begun = this.#begins.promise;
    // Who asked may have left.
    this.begun.catch(() => {});
  }

  /** Of the file. */
  get storedBytes(): number {
    return this.#storedBytes;
  }

  /** All of it is stored. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  get readers(): number {
    return this.#readers.size;
  }

  /** Aborts when nobody wants it any more. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Makes it. Never rejects: readers are told. */
  async run(beginning: Promise<BegunAnswer>): Promise<void> {
    try {
      const { answer, kept } = await beginning;
      const { signal } = this;
      signal.addEventListener("abort", () => answer.destroy(), { once: true });
      if (signal.aborted) answer.destroy();
      if (!kept) this.#drop();
      if (kept || this.#readers.size > 1) this.#file = await this.#keeper.open();
      if (this.#file === undefined) this.#drop();
      this.#begins.resolve();
      this.#isComplete = await this.#take(answer);
      this.#state = "ended";
    } catch (error) {
      this.#failure = error instanceof Error ? error : new Error(messageOf(error));
      this.#state = "failed";
      this.#begins.reject(error);
    }
    if (this.#isComplete) this.#chunk = Buffer.alloc(0);
    else this.#drop();
    this.#closeUnused();
    this.#grown.resolve();
  }

  /** All of it from its beginning. To be called before it is dropped. */
  join(): Readable {
    const reader = new AnswerReader({
      next: (position) => this.#next(position),
      moved: () => this.#wakeMaker(),
      left: () => this.#left(reader),
    });
    this.#readers.add(reader);
    return reader;
  }

  /** Nobody joins it any more: its file is closed when nobody reads it either. */
  release(): void {
    this.#dropped = true;
    this.#closeUnused();
  }

  /** Gives whether the whole answer is stored, and is one to give again. */
  async #take(answer: Readable): Promise<boolean> {
    const ending = new FetchEnding();
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      if (this.#abort.signal.aborted) throw new Error("nobody reads the answer any more");
      ending.add(chunk);
      this.#chunkStart += this.#chunk.length;
      this.#chunk = chunk;
      this.#wakeReaders();
      if (!(await this.#store(chunk))) await this.#passOn();
    }
    return !this.#dropped && !this.#outgrown && this.#file !== undefined && ending.isWhole;
  }

  async #store(chunk: Buffer): Promise<boolean> {
    const file = this.#file;
    if (file === undefined || this.#outgrown) return false;
    if (this.#keeper.takeRoom(chunk.length)) {
      try {
        for (let at = 0; at < chunk.length;) {
          const { bytesWritten } = await file.write(chunk, at, chunk.length - at, this.#storedBytes + at);
          at += bytesWritten;
        }
        this.#storedBytes += chunk.length;
        return true;
      } catch (error) {
        // A disk that is full, perhaps: the answer goes on without it.
        this.#keeper.giveRoomBack(chunk.length);
        this.#keeper.failed(error);
      }
    }
    this.#outgrown = true;
    this.#drop();
    return false;
  }

  /**
   * Resolves when every reader has the last chunk. One that keeps the others waiting for too long is cut off, since
   * they would be cut off as idle.
   */
  async #passOn(): Promise<void> {
    const end = this.#chunkStart + this.#chunk.length;
    const behind = (): AnswerReader[] => [...this.#readers].filter(({ position }) => position < end);
    const cut = (): void => {
      const slow = behind();
      // If all are, none of them waits.
      const isShared = slow.length < this.#readers.size;
      if (isShared) for (const reader of slow) reader.destroy(new Error("slower than others that read this answer"));
      else cancel = this.#keeper.clock.timer(this.#options.stepMs, cut);
    };
    let cancel = this.#readers.size > 1 ? this.#keeper.clock.timer(this.#options.stepMs, cut) : undefined;
    while (behind().length > 0) await this.#taken.promise;
    cancel?.();
    // What is stored was read by all.
    this.#close();
  }

  /** What comes at `position`; null at the end. */
  async #next(position: number): Promise<Buffer | null> {
    for (;;) {
      const at = position - this.#chunkStart;
      if (at >= 0 && at < this.#chunk.length) return this.#chunk.subarray(at);
      if (position < this.#storedBytes) return this.#read(position);
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#state === "ended") return null;
      await this.#grown.promise;
    }
  }

  async #read(position: number): Promise<Buffer> {
    const file = this.#file;
    // Of a reader that has left.
    if (file === undefined) throw new Error("the answer is not stored any more");
    try {
      const buffer = Buffer.allocUnsafe(Math.min(readBytesMax, this.#storedBytes - position));
      const { bytesRead } = await file.read(buffer, 0, buffer.length, position);
      if (bytesRead === 0) throw new Error("its file is shorter than it was");
      return buffer.subarray(0, bytesRead);
    } catch (error) {
      this.#keeper.failed(error);
      this.#drop();
      throw error;
    }
  }

  #wakeReaders(): void {
    this.#grown.resolve();
    this.#grown = Promise.withResolvers<void>();
  }

  #wakeMaker(): void {
    this.#taken.resolve();
    this.#taken = Promise.withResolvers<void>();
  }

  #left(reader: AnswerReader): void {
    this.#readers.delete(reader);
    this.#wakeMaker();
    if (this.#readers.size === 0 && this.#state === "made") {
      // Before anybody joins what ends now.
      this.#drop();
      this.#abort.abort(new Error("the client went away"));
    }
    this.#closeUnused();
  }

  #drop(): void {
    if (!this.#dropped) this.#keeper.drop();
    this.release();
  }

  #closeUnused(): void {
    if (this.#dropped && this.#readers.size === 0 && this.#state !== "made") this.#close();
  }

  #close(): void {
    const file = this.#file;
    if (file === undefined) return;
    this.#file = undefined;
    this.#keeper.giveRoomBack(this.#storedBytes);
    void file.close().catch(() => {});
  }
}

interface ReaderEvents {
  readonly next: (position: number) => Promise<Buffer | null>;
  readonly moved: () => void;
  readonly left: () => void;
}

/** Holds one chunk at most: a client that does not read costs no more. */
class AnswerReader extends Readable {
  /** Bytes that were taken. */
  position = 0;
  readonly #events: ReaderEvents;

  constructor(events: ReaderEvents) {
    super({ highWaterMark: 1 });
    this.#events = events;
  }

  override _read(): void {
    this.#events.next(this.position).then(
      (chunk) => {
        if (this.destroyed) return;
        this.position += chunk?.length ?? 0;
        this.push(chunk);
        this.#events.moved();
      },
      (error: unknown) => this.destroy(error as Error),
    );
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#events.left();
    callback(error);
  }
}
