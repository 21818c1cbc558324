/** Calls of the public API for the commands that administer a cluster. */
import { request } from "undici";
import { z } from "zod";
import { environmentVariable } from "../base/config.ts";
import { messageOf } from "../base/errors.ts";

const problemSchema = z.object({ title: z.string(), detail: z.string().optional(), remedy: z.string().optional() });

export interface ApiAnswer {
  readonly body: unknown;
  /** Address of the next page of a list. */
  readonly next: string | undefined;
}

export class ApiClient {
  readonly #url: string;

  /** `url`: --url, or GITMESH_URL, or the quick start's. */
  constructor(url: string | boolean | undefined) {
    const given = typeof url === "string" ? url : (environmentVariable("GITMESH_URL") ?? "http://localhost:8081");
    if (!/^https?:\/\/./.test(given)) throw new Error(`${given} is no http:// or https:// URL.`);
    this.#url = given.replace(/\/+$/, "");
  }

  /** Throws a message for people: what is wrong, and what to do about it. */
  async call(method: "GET" | "POST" | "PATCH" | "DELETE", path: string, body?: unknown): Promise<ApiAnswer> {
    let status: number;
    let text: string;
    let link: string;
    try {
      const answer = await request(new URL(path, this.#url), {
        method,
        headers: body === undefined ? {} : { "content-type": "application/json" },
        body: body === undefined ? null : JSON.stringify(body),
      });
      status = answer.statusCode;
      text = await answer.body.text();
      link = String(answer.headers["link"] ?? "");
    } catch (error) {
      const why = messageOf(error) || (error as NodeJS.ErrnoException).code || "no connection";
      throw new Error(
        `${this.#url} does not answer: ${why}\nStart the cluster, or name a controller with --url or GITMESH_URL.`,
        {
          cause: error,
        },
      );
    }
    const value = parse(text);
    if (status >= 200 && status < 300) return { body: value, next: /<([^>]+)>;\s*rel="next"/.exec(link)?.[1] };
    const problem = problemSchema.safeParse(value);
    if (!problem.success) throw new Error(`${this.#url} answered ${status}.`);
    const { title, detail, remedy } = problem.data;
    throw new Error(
      [`${title}${detail === undefined ? "" : `: ${detail}`}`, remedy].filter((line) => line !== undefined).join("\n"),
    );
  }
}

function parse(text: string): unknown {
  try {
    return text === "" ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
