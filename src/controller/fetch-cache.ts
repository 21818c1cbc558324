/**
 * Answers to fetches, kept by what was asked: a hundred identical clones cost one `git pack-objects`, those that come at
 * the same time included.
 *
 * An answer is written to a file as fast as it comes, and everyone who asked reads it from there at a pace of their own. One
 * that grows too large for that is not kept: from then on its readers go in step, at the pace of the slowest.
 */
import { randomBytes } from "node:crypto";
import { open, unlink, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import type { Logger } from "../base/log.ts";
import { messageOf } from "../base/errors.ts";

export interface FetchCacheOptions {
  /** Where the files are. They have no names, so that nothing is left when the process ends. */
  readonly directory: string;
  /** Of all answers together. */
  readonly bytesMax: number;
  readonly log: Logger;
}

/** Begins an answer; `kept` is false for one that another replica, or a later moment, may answer otherwise. */
export type BeginAnswer = (signal: AbortSignal) => Promise<{ readonly answer: Readable; readonly kept: boolean }>;

/** Part of `bytesMax` that one answer may take. */
const shareMax = 0.25;
/** Each is an open file. */
const answersMax = 1000;
const readBytes = 256 * 1024;
/** gitprotocol-v2, and the side band of v0: a whole answer ends with a flush-pkt. One that git gave up does not. */
const flush = "0000";

export class FetchCache {
  readonly #options: FetchCacheOptions;
  /** Those that may be joined, least recently used first. */
  readonly #answers = new Map<string, Answer>();
  /** Of the files of all answers, also of those that are only read to their end. */
  #bytes = 0;

  constructor(options: FetchCacheOptions) {
    this.#options = options;
  }

  /** The answer to `key`: one that is there or on its way, or a new one. Rejects as `begin` does. */
  async get(key: string, begin: BeginAnswer, signal: AbortSignal): Promise<Readable> {
    signal.throwIfAborted();
    const answer = this.#answers.get(key) ?? this.#begin(key, begin);
    // The last one is the one that was asked for last.
    this.#answers.delete(key);
    this.#answers.set(key, answer);
    const reader = answer.join();
    const leave = (): void => void reader.destroy();
    signal.addEventListener("abort", leave, { once: true });
    reader.once("close", () => signal.removeEventListener("abort", leave));
    await answer.begun;
    return reader;
  }

  /** Forgets what is kept; answers on their way go on. */
  clear(): void {
    for (const [key, answer] of this.#answers) this.#forget(key, answer);
  }

  #begin(key: string, begin: BeginAnswer): Answer {
    const answer: Answer = new Answer({
      room: (bytes) => this.#makeRoom(answer, bytes),
      unused: (bytes) => (this.#bytes -= bytes),
      notKept: () => this.#forget(key, answer),
      closed: () => (this.#bytes -= answer.storedBytes),
    });
    void answer.run(begin, () => this.#file());
    return answer;
  }

  #forget(key: string, answer: Answer): void {
    if (this.#answers.get(key) === answer) this.#answers.delete(key);
    answer.release();
  }

  /** Whether an answer may grow so much; others that nobody has asked for lately go. */
  #makeRoom(answer: Answer, bytes: number): boolean {
    const { bytesMax } = this.#options;
    if (answer.storedBytes + bytes > bytesMax * shareMax) return false;
    for (const [key, other] of this.#answers) {
      if (this.#bytes + bytes <= bytesMax && this.#answers.size <= answersMax) break;
      if (other !== answer && other.isComplete) this.#forget(key, other);
    }
    if (this.#bytes + bytes > bytesMax || this.#answers.size > answersMax) return false;
    this.#bytes += bytes;
    return true;
  }

  async #file(): Promise<FileHandle | undefined> {
    const path = join(this.#options.directory, `gitmesh-fetch-${randomBytes(8).toString("hex")}`);
    try {
      const file = await open(path, "wx+", 0o600);
      await unlink(path);
      return file;
    } catch (error) {
      this.#options.log.warn({ path, error: messageOf(error) }, "cannot keep an answer to a fetch");
      return undefined;
    }
  }
}

interface AnswerEvents {
  /** Whether so many bytes more may be stored: they count from then on. */
  readonly room: (bytes: number) => boolean;
  /** They are not stored after all. */
  readonly unused: (bytes: number) => void;
  /** It must not be joined any more. */
  readonly notKept: () => void;
  readonly closed: () => void;
}

/** One answer, being made or whole. */
class Answer {
  /** Resolves when the answer has begun; rejects when it could not. */
  readonly begun: Promise<void>;
  /** Of the file. */
  storedBytes = 0;
  isComplete = false;
  readonly #events: AnswerEvents;
  readonly #abort = new AbortController();
  readonly #readers = new Set<AnswerReader>();
  readonly #begins = Promise.withResolvers<void>();
  #file: FileHandle | undefined;
  /** What came last, of an answer that is no longer stored: in memory until every reader has it. */
  #chunk: Buffer | undefined;
  /** How much came before `#chunk`. */
  #before = 0;
  #ended = false;
  #failure: Error | undefined;
  #released = false;
  #changed = Promise.withResolvers<void>();

  constructor(events: AnswerEvents) {
    this.#events = events;
    this.begun = this.#begins.promise;
    // Who asked may have left.
    this.begun.catch(() => {});
  }

  /** Never rejects: readers are told. */
  async run(begin: BeginAnswer, file: () => Promise<FileHandle | undefined>): Promise<void> {
    let kept = false;
    try {
      const { answer, kept: mayBeKept } = await begin(this.#abort.signal);
      this.#abort.signal.addEventListener("abort", () => answer.destroy(), { once: true });
      if (mayBeKept) this.#file = await file();
      if (this.#file === undefined) this.#events.notKept();
      this.#begins.resolve();
      kept = await this.#take(answer);
      this.#ended = true;
    } catch (error) {
      this.#failure = error instanceof Error ? error : new Error(messageOf(error));
      this.#begins.reject(error);
    }
    if (kept) this.isComplete = true;
    else this.#events.notKept();
    this.#closeUnused();
    this.#wake();
  }

  join(): Readable {
    const reader = new AnswerReader({
      next: (position) => this.#next(position),
      moved: () => this.#wake(),
      left: () => this.#left(reader),
    });
    this.#readers.add(reader);
    return reader;
  }

  /** Its file is closed when nobody reads it any more. */
  release(): void {
    this.#released = true;
    this.#closeUnused();
  }

  /** Gives whether the whole answer is stored, and is one to give again. */
  async #take(answer: Readable): Promise<boolean> {
    let last = "";
    let first: string | undefined;
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      if (this.#abort.signal.aborted) throw new Error("nobody reads the answer any more");
      first ??= chunk.toString("latin1", 4, 8);
      last = (last + chunk.toString("latin1", Math.max(0, chunk.length - flush.length))).slice(-flush.length);
      if (!(await this.#store(chunk))) await this.#passOn(chunk);
    }
    return this.#file !== undefined && this.#chunk === undefined && last === flush && first !== "ERR ";
  }

  async #store(chunk: Buffer): Promise<boolean> {
    if (this.#file === undefined || this.#chunk !== undefined) return false;
    if (this.#events.room(chunk.length)) {
      const start = this.storedBytes;
      try {
        for (let at = 0; at < chunk.length;) {
          const { bytesWritten } = await this.#file.write(chunk, at, chunk.length - at, start + at);
          at += bytesWritten;
        }
        this.storedBytes += chunk.length;
        this.#before = this.storedBytes;
        this.#wake();
        return true;
      } catch {
        // A disk that is full, perhaps: the answer goes on without it.
        this.#events.unused(chunk.length);
      }
    }
    this.#events.notKept();
    return false;
  }

  /** Resolves when every reader has the chunk. */
  async #passOn(chunk: Buffer): Promise<void> {
    this.#before += this.#chunk?.length ?? 0;
    this.#chunk = chunk;
    this.#wake();
    const end = this.#before + chunk.length;
    while ([...this.#readers].some(({ position }) => position < end)) await this.#changed.promise;
  }

  /** What comes at `position`; null at the end. */
  async #next(position: number): Promise<Buffer | null> {
    for (;;) {
      if (position < this.storedBytes && this.#file !== undefined) {
        const buffer = Buffer.allocUnsafe(Math.min(readBytes, this.storedBytes - position));
        const { bytesRead } = await this.#file.read(buffer, 0, buffer.length, position);
        if (bytesRead === 0) throw new Error("a kept answer to a fetch is shorter than it was");
        return buffer.subarray(0, bytesRead);
      }
      if (this.#chunk !== undefined && position < this.#before + this.#chunk.length)
        return this.#chunk.subarray(position - this.#before);
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#ended) return null;
      await this.#changed.promise;
    }
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }

  #left(reader: AnswerReader): void {
    this.#readers.delete(reader);
    this.#wake();
    if (this.#readers.size > 0) return;
    if (!this.#ended && this.#failure === undefined) {
      // Before anybody joins what ends now.
      this.#events.notKept();
      this.#abort.abort(new Error("the client went away"));
    }
    this.#closeUnused();
  }

  #closeUnused(): void {
    const isBeingMade = !this.#ended && this.#failure === undefined;
    if (!this.#released || this.#readers.size > 0 || isBeingMade) return;
    if (this.#file === undefined) return;
    this.#events.closed();
    void this.#file.close().catch(() => {});
    this.#file = undefined;
  }
}

interface ReaderEvents {
  readonly next: (position: number) => Promise<Buffer | null>;
  readonly moved: () => void;
  readonly left: () => void;
}

class AnswerReader extends Readable {
  /** Bytes that were taken. */
  position = 0;
  readonly #events: ReaderEvents;

  constructor(events: ReaderEvents) {
    super({ highWaterMark: readBytes });
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
