/**
 * Passes the event stream on. When its controller dies, another one goes on where it was, in the same answer: a browser
 * notices nothing. Whole messages only, so that none is cut by the change.
 */
import type { Writable } from "node:stream";
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Answer, Call, Controllers } from "./controllers.ts";

/** A message has one event; lists of work are the longest. */
const messageBytesMax = 4 * 1024 * 1024;
/** For a client that takes nothing: it is cut off, and comes back. */
const unsentBytesMax = 4 * 1024 * 1024;
const pauseMs = 200;
/** Without any controller for this long the stream ends: then the page says so. */
const patienceMs = 3000;

export interface RelayDependencies {
  readonly controllers: Controllers;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Writes to `client` from `first` on, until the call's signal aborts or no controller answers any more. */
export async function relayEvents(
  { controllers, clock, log }: RelayDependencies,
  call: Call,
  first: Answer,
  client: Writable,
): Promise<void> {
  const cursor = new MessageCutter(call.headers["last-event-id"] ?? "");
  let source: Answer | undefined = first;
  while (source !== undefined && !call.signal.aborted) {
    try {
      for await (const chunk of source.body as AsyncIterable<Buffer>) {
        const whole = cursor.take(chunk);
        if (whole !== "") client.write(whole);
        if (client.writableLength > unsentBytesMax) throw new Error("the client takes nothing");
      }
    } catch (error) {
      if (!call.signal.aborted) log.debug({ error: messageOf(error) }, "the event stream broke off");
    }
    cursor.restart();
    if (client.writableLength > unsentBytesMax) return;
    // It may hang, and would keep the next call waiting.
    controllers.passOver(source.from);
    source = await next();
  }

  async function next(): Promise<Answer | undefined> {
    const endMs = clock.monotonicMs() + patienceMs;
    while (!call.signal.aborted && clock.monotonicMs() < endMs) {
      await clock.sleep(pauseMs, call.signal);
      try {
        const lastId = cursor.lastId;
        const headers = lastId === "" ? call.headers : { ...call.headers, "last-event-id": lastId };
        const answer = await controllers.stream({ ...call, headers });
        if (answer.statusCode === 200) return answer;
        await answer.body.dump();
      } catch {
        // Tried again until the patience is at its end.
      }
    }
    return undefined;
  }
}

/** Cuts a stream after each whole message, and remembers the last id. */
export class MessageCutter {
  lastId: string;
  #begun = "";

  constructor(lastId: string) {
    this.lastId = lastId;
  }

  /** What is whole now. Throws when a message has no end. */
  take(chunk: Buffer): string {
    // Messages are JSON, which our controllers send with characters of ASCII and more: never cut within one of them.
    const text = this.#begun + this.#decoder.decode(chunk, { stream: true });
    const end = text.lastIndexOf("\n\n");
    if (end < 0) {
      if (text.length > messageBytesMax) throw new Error("a message without an end");
      this.#begun = text;
      return "";
    }
    this.#begun = text.slice(end + 2);
    const whole = text.slice(0, end + 2);
    const [, id] = [...whole.matchAll(/^id: (\d+)$/gm)].at(-1) ?? [];
    if (id !== undefined) this.lastId = id;
    return whole;
  }

  /** What has begun is forgotten: another stream follows. */
  restart(): void {
    this.#begun = "";
    this.#decoder = new TextDecoder();
  }

  #decoder = new TextDecoder();
}
