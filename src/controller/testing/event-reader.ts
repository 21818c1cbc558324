/** Reads a stream of server-sent events. */
export interface ReadMessage {
  readonly event: string;
  readonly data: unknown;
  /** The last one so far, as a browser keeps it. */
  readonly lastId: string;
}

export class EventReader {
  readonly messages: ReadMessage[] = [];
  readonly #abort = new AbortController();
  lastId = "";
  ended = false;

  static async open(url: string, lastEventId?: string): Promise<EventReader> {
    const reader = new EventReader();
    const answer = await fetch(url, {
      signal: reader.#abort.signal,
      headers: lastEventId === undefined ? {} : { "last-event-id": lastEventId },
    });
    if (answer.status !== 200 || answer.body === null) throw new Error(`it answered ${answer.status}`);
    void reader.#read(answer.body);
    return reader;
  }

  of(event: string): readonly ReadMessage[] {
    return this.messages.filter((message) => message.event === event);
  }

  close(): void {
    this.#abort.abort();
  }

  async #read(body: ReadableStream<Uint8Array>): Promise<void> {
    let text = "";
    try {
      for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
        text += chunk;
        const parts = text.split("\n\n");
        text = parts.pop() ?? "";
        for (const part of parts) this.#take(part);
      }
    } catch {
      // Closed, or cut off: `ended` says so.
    }
    this.ended = true;
  }

  #take(part: string): void {
    const fields = new Map(part.split("\n").map((line) => [line.split(":", 1)[0] ?? "", line.replace(/^\w*: ?/, "")]));
    this.lastId = fields.get("id") ?? this.lastId;
    const data = fields.get("data");
    if (data === undefined) return;
    this.messages.push({ event: fields.get("event") ?? "", data: JSON.parse(data) as unknown, lastId: this.lastId });
  }
}
