/**
 * The connection of the event stream: opened again when it breaks or goes silent, from where it was, and closed while
 * nobody looks: a browser has few connections for one host, and each page in the background would hold one.
 */
import type { StreamMessages } from "../../../src/protocol/activity-api.ts";
import { connection, heals } from "./connection.ts";
import type { Timing } from "./refetching.ts";

const streamPath = "/api/events/stream";
/** A break that is over by then is nobody's business. */
const graceMs = 1500;
/** No message for longer than the server's pause between two: the connection is dead and nobody said so. */
const silentMs = 15_000;
const retryMs = 1000;
const hiddenMs = 10_000;

/** What it needs of the browser; tests have their own. */
export interface Browser extends Timing {
  openStream(url: string): Pick<EventSource, "addEventListener" | "close" | "readyState">;
  isHidden(): boolean;
  /** "online": the network is back; "visibility": the page was hidden or shown. What is returned ends it. */
  on(what: "online" | "visibility", act: () => void): () => void;
}

export type MessageHandlers = { readonly [E in keyof StreamMessages]: (data: StreamMessages[E]) => void };

/** EventSource.CLOSED, which Node.js does not have. */
const closed = 2;

export class EventConnection {
  readonly #handlers: MessageHandlers;
  readonly #browser: Browser;
  readonly #timers = new Map<"grace" | "silence" | "retry" | "hide", () => void>();
  #source: ReturnType<Browser["openStream"]> | undefined;
  #ends: (() => void)[] = [];
  #lastId = "";
  #wasLive = false;

  constructor(handlers: MessageHandlers, browser: Browser) {
    this.#handlers = handlers;
    this.#browser = browser;
  }

  start(): void {
    this.#ends = [
      this.#browser.on("online", () => {
        if (this.#source !== undefined) this.#open();
      }),
      this.#browser.on("visibility", () => this.#look()),
    ];
    this.#open();
    this.#look();
  }

  stop(): void {
    for (const end of this.#ends) end();
    this.#close();
  }

  #look(): void {
    this.#cancel("hide");
    if (this.#browser.isHidden()) this.#after("hide", hiddenMs, () => this.#close());
    else if (this.#source === undefined) {
      this.#missed();
      this.#open();
    }
  }

  #open(): void {
    this.#cancel("retry");
    this.#source?.close();
    // A new connection after one that ended goes on where that one was.
    const source = this.#browser.openStream(
      this.#lastId === "" ? streamPath : `${streamPath}?lastEventId=${this.#lastId}`,
    );
    this.#source = source;
    for (const name of Object.keys(this.#handlers) as (keyof StreamMessages)[]) {
      source.addEventListener(name, (event: MessageEvent<string>) => {
        if (this.#source !== source) return;
        this.#heard();
        if (name === "hello") this.#isLive();
        (this.#handlers[name] as (data: unknown) => void)(JSON.parse(event.data));
        // Last: what could not be used comes again.
        if (event.lastEventId !== "") this.#lastId = event.lastEventId;
      });
    }
    source.addEventListener("error", () => {
      if (this.#source !== source) return;
      this.#missed();
      // The browser itself tries again after a broken connection, but not after an answer that is an error.
      if (source.readyState === closed) this.#after("retry", retryMs, () => this.#open());
    });
    this.#heard();
  }

  #close(): void {
    this.#source?.close();
    this.#source = undefined;
    for (const cancel of this.#timers.values()) cancel();
    this.#timers.clear();
  }

  #isLive(): void {
    this.#cancel("grace");
    if (connection.value === "lost") heals.value += 1;
    connection.value = "live";
    this.#wasLive = true;
  }

  #heard(): void {
    this.#after("silence", silentMs, () => {
      this.#missed();
      this.#open();
    });
  }

  #missed(): void {
    if (connection.value === "lost") return;
    connection.value = "connecting";
    if (this.#timers.has("grace")) return;
    this.#after("grace", this.#wasLive ? graceMs : 2 * graceMs, () => {
      connection.value = "lost";
    });
  }

  /** Instead of an earlier one of this name. */
  #after(name: "grace" | "silence" | "retry" | "hide", ms: number, act: () => void): void {
    this.#cancel(name);
    const cancel = this.#browser.timer(ms, () => {
      this.#timers.delete(name);
      act();
    });
    this.#timers.set(name, cancel);
  }

  #cancel(name: "grace" | "silence" | "retry" | "hide"): void {
    this.#timers.get(name)?.();
    this.#timers.delete(name);
  }
}
