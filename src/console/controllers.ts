/**
 * Passes requests on to the controllers: to the one that answered last, and to the next when that one fails. What only
 * reads is asked again elsewhere; a change is not, once it may have arrived.
 */
import type { IncomingHttpHeaders } from "node:http";
import { Agent, request, type Dispatcher } from "undici";
import { GitmeshError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";

export interface Call {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | null;
  readonly signal: AbortSignal;
}

const connectMs = 2000;
/** A controller that does not begin to answer a question in this time is passed over, if there is another one. */
const readMs = 5000;
const aloneMs = 60_000;
/** Streams say something at least every ten seconds. */
const streamIdleMs = 25_000;

/** Nothing was sent when one of these comes. */
const unsentCodes = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "UND_ERR_CONNECT_TIMEOUT"]);

export class Controllers {
  readonly #urls: readonly string[];
  readonly #log: Logger;
  readonly #agent = new Agent({ connectTimeout: connectMs, keepAliveTimeout: 10_000, pipelining: 1 });
  #preferred = 0;

  constructor(urls: readonly string[], log: Logger) {
    this.#urls = urls;
    this.#log = log;
  }

  close(): Promise<void> {
    return this.#agent.destroy();
  }

  /** Throws "controller-unreachable" when none answers, "outcome-unknown" for a change that may have taken effect. */
  async forward(call: Call): Promise<Dispatcher.ResponseData> {
    const reads = call.method === "GET" || call.method === "HEAD";
    const timeoutMs = reads && this.#urls.length > 1 ? readMs : aloneMs;
    return this.#try(call, reads, { headersTimeout: timeoutMs, bodyTimeout: aloneMs });
  }

  /** An answer that goes on for ever. */
  stream(call: Call): Promise<Dispatcher.ResponseData> {
    return this.#try(call, true, { headersTimeout: readMs, bodyTimeout: streamIdleMs });
  }

  async #try(
    call: Call,
    repeatable: boolean,
    limits: { readonly headersTimeout: number; readonly bodyTimeout: number },
  ): Promise<Dispatcher.ResponseData> {
    const first = this.#preferred;
    const failures: string[] = [];
    for (let attempt = 0; attempt < this.#urls.length; attempt += 1) {
      const index = (first + attempt) % this.#urls.length;
      const url = this.#urls[index] ?? "";
      try {
        const answer = await request(url + call.path, {
          dispatcher: this.#agent,
          method: call.method,
          headers: call.headers,
          body: call.body,
          signal: call.signal,
          ...limits,
        });
        this.#preferred = index;
        return answer;
      } catch (error) {
        if (call.signal.aborted) throw error;
        const { code = "" } = error as NodeJS.ErrnoException;
        failures.push(`${url}: ${messageOf(error) || code}`);
        this.#log.debug({ url, error: messageOf(error) }, "a controller does not answer");
        // Others shall not wait for it too.
        if (this.#preferred === index) this.#preferred = (index + 1) % this.#urls.length;
        if (!repeatable && !unsentCodes.has(code)) {
          throw new GitmeshError("outcome-unknown", `the controller at ${url} broke off before it answered`, {
            cause: error,
          });
        }
      }
    }
    throw new GitmeshError("controller-unreachable", failures.join("; "));
  }
}

const passedOn = [
  "accept",
  "authorization",
  "content-type",
  "cookie",
  "if-none-match",
  "last-event-id",
  "x-request-id",
];

/** Of a client's request, what a controller is to know. */
export function headersToPass(headers: IncomingHttpHeaders): Record<string, string> {
  const passed: Record<string, string> = {};
  for (const name of passedOn) {
    const value = headers[name];
    if (typeof value === "string") passed[name] = value;
  }
  return passed;
}
