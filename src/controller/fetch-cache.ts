/**
 * Answers to fetches, kept by what was asked: a hundred identical clones cost one `git pack-objects`, those that come at
 * the same time included. Not a cache of refs (ref-snapshot.ts): whether someone may read, and what there is to be
 * read, is looked up before anything is asked of it.
 *
 * A question must have all that can change the answer. git copies what it packed without a look: of bytes that rot it
 * makes an answer that looks whole and that no client can use. So there is an answer from each replica, given in turn, and
 * who asks again gets another, as without a cache. What is kept is bounded in bytes and files, goes when it is old (an
 * answer from a disk that rots must not be given for ever), and is not there at all where nothing can be written.
 */
import { randomBytes } from "node:crypto";
import { open, unlink, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { LRUCache } from "lru-cache";
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { SharedAnswer, type BegunAnswer, type SharedAnswerOptions } from "./shared-answer.ts";

/** Begins an answer. */
export type BeginAnswer = (signal: AbortSignal) => Promise<BegunAnswer>;

export interface FetchCacheOptions extends SharedAnswerOptions {
  /** Where the files are. They have no names, so that nothing is left when the process ends. */
  readonly directory: string;
  /** Of all answers together. */
  readonly bytesMax: number;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Part of `bytesMax` that an answer with one reader may take. One with several may take all of it. */
const shareMax = 0.5;
/** Each is an open file. */
const answersMax = 500;
const keptMs = 10 * 60_000;
/** After a file that could not be made, written or read. */
const restMs = 30_000;
const largeKeysMax = 10_000;

export class FetchCache {
  readonly #options: FetchCacheOptions;
  /** By question and turn; least recently used first. */
  readonly #answers = new Map<string, SharedAnswer>();
  /** Those of them that are being made, by question. */
  readonly #making = new Map<string, SharedAnswer>();
  /** Questions whose answers are too large. */
  readonly #large = new LRUCache<string, true>({ max: largeKeysMax });
  /** Of the files of all answers, also of those that are only read to their end. */
  #bytes = 0;
  #restUntilMs = -1;

  constructor(options: FetchCacheOptions) {
    this.#options = options;
  }

  /**
   * The answer to a question: the one of this turn that is there, or any that is on its way, or a new one. Rejects as
   * `begin` does.
   */
  async get(
    { question, turn }: { readonly question: string; readonly turn: number },
    begin: BeginAnswer,
    signal: AbortSignal,
  ): Promise<Readable> {
    signal.throwIfAborted();
    const key = `${question} ${turn}`;
    const nowMs = this.#options.clock.monotonicMs();
    const known = this.#answers.get(key);
    if (known?.isComplete === true && nowMs - known.begunMs > keptMs) this.#forget(key, known);
    const found = this.#answers.get(key) ?? this.#making.get(question);
    if (found === undefined && (this.#large.has(question) || nowMs < this.#restUntilMs))
      return (await begin(signal)).answer;
    const answer = found ?? this.#begin(question, key, begin);
    // The last one is the one that was asked for last.
    if (this.#answers.delete(key)) this.#answers.set(key, answer);
    const reader = answer.join();
    const leave = (): void => void reader.destroy();
    signal.addEventListener("abort", leave, { once: true });
    reader.once("close", () => signal.removeEventListener("abort", leave));
    try {
      await answer.begun;
      signal.throwIfAborted();
    } catch (error) {
      reader.destroy();
      throw error;
    }
    return reader;
  }

  /** Forgets what is kept; answers on their way go on. */
  clear(): void {
    this.#making.clear();
    for (const [key, answer] of this.#answers) this.#forget(key, answer);
  }

  #begin(question: string, key: string, begin: BeginAnswer): SharedAnswer {
    const { clock } = this.#options;
    const answer: SharedAnswer = new SharedAnswer(
      {
        clock,
        open: () => this.#open(),
        takeRoom: (bytes) => this.#takeRoom(question, answer, bytes),
        giveRoomBack: (bytes) => (this.#bytes -= bytes),
        failed: (error) => this.#rest(error),
        drop: () => {
          this.#made(question, answer);
          this.#forget(key, answer);
        },
      },
      this.#options,
    );
    this.#answers.set(key, answer);
    this.#making.set(question, answer);
    void answer.run(begin(answer.signal)).then(() => this.#made(question, answer));
    return answer;
  }

  #made(question: string, answer: SharedAnswer): void {
    if (this.#making.get(question) === answer) this.#making.delete(question);
  }

  #forget(key: string, answer: SharedAnswer): void {
    if (this.#answers.get(key) === answer) this.#answers.delete(key);
    answer.release();
  }

  /** Whether an answer may grow so much. Others that nobody reads and nobody has asked for lately go for it. */
  #takeRoom(question: string, answer: SharedAnswer, bytes: number): boolean {
    const { bytesMax } = this.#options;
    if (answer.storedBytes + bytes > bytesMax * (answer.readers > 1 ? 1 : shareMax)) {
      this.#large.set(question, true);
      return false;
    }
    const isFull = (): boolean => this.#bytes + bytes > bytesMax || this.#answers.size > answersMax;
    for (const [key, other] of this.#answers) {
      if (!isFull()) break;
      if (other.isComplete && other.readers === 0) this.#forget(key, other);
    }
    if (isFull()) return false;
    this.#bytes += bytes;
    return true;
  }

  async #open(): Promise<FileHandle | undefined> {
    const path = join(this.#options.directory, `gitmesh-fetch-${randomBytes(8).toString("hex")}`);
    let file: FileHandle | undefined;
    try {
      file = await open(path, "wx+", 0o600);
      await unlink(path);
      return file;
    } catch (error) {
      await file?.close().catch(() => {});
      this.#rest(error);
      return undefined;
    }
  }

  /** Keeps nothing new for a while. */
  #rest(error: unknown): void {
    const { clock, directory, log } = this.#options;
    const nowMs = clock.monotonicMs();
    if (nowMs >= this.#restUntilMs)
      log.warn({ directory, error: messageOf(error) }, "cannot keep answers to fetches; each is made anew for a while");
    this.#restUntilMs = nowMs + restMs;
  }
}
