/**
 * Passes requests on to the controllers: to the one that answered last, and to the next when that one fails or cannot do
 * its work. What only reads is asked again elsewhere; a change is not, once it may have arrived.
 */
import type { IncomingHttpHeaders } from "node:http";
import { Agent, request, type Dispatcher } from "undici";
import { GitmeshError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { storeDownHeader } from "../protocol/activity-api.ts";

export interface Call {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | null;
  readonly signal: AbortSignal;
}

/** Whose answer it is: a controller's place in the list. */
export interface Answer extends Dispatcher.ResponseData {
  readonly from: number;
}

interface Limits {
  /** Until an answer begins: where another controller could be asked, and where there is none left. */
  readonly othersMs: number;
  readonly aloneMs: number;
  /** Between two bytes of an answer. */
  readonly idleMs: number;
}

export interface ControllerTimes {
  readonly connectMs: number;
  /** A controller that does not begin to answer a question in this time is passed over, if there is another one. */
  readonly readMs: number;
  /** The last one that can be asked has this long. */
  readonly aloneMs: number;
  /** Streams say something at least every three seconds (src/controller/event-route.ts). */
  readonly streamIdleMs: number;
}

const usualTimes: ControllerTimes = { connectMs: 2000, readMs: 5000, aloneMs: 60_000, streamIdleMs: 8000 };

/** Nothing was sent when one of these comes. */
const unsentCodes = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
]);
/** What a proxy, or a controller that cannot do its work now, says: another one may be able to. */
const unwellStatuses = new Set([502, 503, 504]);
const apiPrefix = "/api/";

export class Controllers {
  readonly #urls: readonly string[];
  readonly #log: Logger;
  readonly #times: ControllerTimes;
  readonly #agent: Agent;
  /** Answers that each began so far. */
  readonly #answers: number[];
  #preferred = 0;

  constructor(urls: readonly string[], log: Logger, times = usualTimes) {
    this.#urls = urls;
    this.#log = log;
    this.#times = times;
    this.#agent = new Agent({ connectTimeout: times.connectMs, keepAliveTimeout: 10_000, pipelining: 1 });
    this.#answers = urls.map(() => 0);
  }

  close(): Promise<void> {
    return this.#agent.destroy();
  }

  /** Throws "controller-unreachable" when none answers, "outcome-unknown" for a change that may have taken effect. */
  forward(call: Call): Promise<Answer> {
    const { readMs, aloneMs } = this.#times;
    const reads = call.method === "GET" || call.method === "HEAD";
    return this.#try(call, reads, { othersMs: reads ? readMs : aloneMs, aloneMs, idleMs: aloneMs });
  }

  /** An answer that goes on for ever. */
  stream(call: Call): Promise<Answer> {
    const { readMs, streamIdleMs } = this.#times;
    return this.#try(call, true, { othersMs: readMs, aloneMs: streamIdleMs, idleMs: streamIdleMs });
  }

  /** One that broke off, or is silent: others are asked first from now on. */
  passOver(index: number): void {
    if (this.#preferred === index) this.#preferred = (index + 1) % this.#urls.length;
  }

  async #try(call: Call, repeatable: boolean, limits: Limits): Promise<Answer> {
    const path = apiPath(call.path);
    const first = this.#preferred;
    const failures: string[] = [];
    /** For the case that no other is better. */
    let unwell: Answer | undefined;
    let isSlow = false;
    for (let attempt = 0; attempt < this.#urls.length; attempt += 1) {
      const index = (first + attempt) % this.#urls.length;
      const url = this.#urls[index] ?? "";
      const answersBefore = this.#answers[index] ?? 0;
      const isLast = attempt === this.#urls.length - 1;
      try {
        const response = await request(url + path, {
          dispatcher: this.#agent,
          method: call.method,
          headers: call.headers,
          body: call.body,
          signal: call.signal,
          headersTimeout: isLast ? limits.aloneMs : limits.othersMs,
          bodyTimeout: limits.idleMs,
        });
        const answer = { ...response, from: index };
        this.#answers[index] = (this.#answers[index] ?? 0) + 1;
        discard(unwell);
        if (!repeatable || !isUnwell(answer)) {
          if (!isSlow) this.#preferred = index;
          return answer;
        }
        unwell = answer;
      } catch (error) {
        if (call.signal.aborted) {
          discard(unwell);
          throw error;
        }
        failures.push(`${url}: ${messageOf(error) || codeOf(error)}`);
        this.#log.debug({ url, error: messageOf(error) }, "a controller does not answer");
        // Others shall not wait for it too, unless it answered them meanwhile: then it is this question that takes long.
        if (this.#answers[index] === answersBefore) this.passOver(index);
        else isSlow = true;
        if (!repeatable && !isUnsent(error)) {
          throw new GitmeshError("outcome-unknown", `the controller at ${url} broke off before it answered`, {
            cause: error,
          });
        }
      }
    }
    if (unwell !== undefined) return unwell;
    throw new GitmeshError("controller-unreachable", failures.join("; "));
  }
}

/**
 * The path as it goes over the wire, dots resolved. Throws "not-found" for one that leaves the API: what else a controller
 * has is not for browsers.
 */
function apiPath(path: string): string {
  const url = URL.canParse(path, "http://console") ? new URL(path, "http://console") : undefined;
  if (url?.pathname.startsWith(apiPrefix) === true) return url.pathname + url.search;
  throw new GitmeshError("not-found", "nothing is here");
}

/** A stream may also begin without the store, so that people see at least that. */
function isUnwell({ statusCode, headers }: Dispatcher.ResponseData): boolean {
  return unwellStatuses.has(statusCode) || headers[storeDownHeader] !== undefined;
}

function discard(answer: Answer | undefined): void {
  answer?.body.on("error", () => {}).destroy();
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? "";
}

function isUnsent(error: unknown): boolean {
  const { code = "", syscall } = error as NodeJS.ErrnoException;
  return unsentCodes.has(code) || (code === "ETIMEDOUT" && syscall === "connect");
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
