/**
 * Asks for the same thing over keep-alive connections and counts the answers. A process of its own, the same for every
 * server (see load.ts); needs no git.
 */
import { Pool, type Dispatcher } from "undici";

export interface LoadRequest {
  readonly url: string;
  readonly method: "GET" | "POST";
  readonly headers: Readonly<Record<string, string>>;
  /** Base64. */
  readonly body: string;
  readonly connections: number;
  /** No request is begun later than this; those that were begun are waited for and counted. */
  readonly seconds: number;
}

export interface LoadResult {
  readonly requests: number;
  /** From the first request's beginning to the last answer's end. */
  readonly seconds: number;
  /** Of all answers' bodies. */
  readonly bytes: number;
  /** Each request's time. */
  readonly latenciesS: readonly number[];
}

export type LoadAnswer = { readonly result: LoadResult } | { readonly error: string };

async function load(request: LoadRequest): Promise<LoadResult> {
  const { origin, pathname, search } = new URL(request.url);
  const pool = new Pool(origin, { connections: request.connections, pipelining: 1, headersTimeout: 0, bodyTimeout: 0 });
  const options: Dispatcher.DispatchOptions = {
    path: pathname + search,
    method: request.method,
    headers: { ...request.headers },
    body: request.body === "" ? null : Buffer.from(request.body, "base64"),
  };
  try {
    const latenciesS: number[] = [];
    let bytes = 0;
    const started = performance.now();
    const endMs = started + request.seconds * 1000;
    const client = async (): Promise<void> => {
      do {
        const begun = performance.now();
        bytes += await answerBytes(pool, options);
        latenciesS.push((performance.now() - begun) / 1000);
      } while (performance.now() < endMs);
    };
    await Promise.all(Array.from({ length: request.connections }, client));
    return { requests: latenciesS.length, seconds: (performance.now() - started) / 1000, bytes, latenciesS };
  } finally {
    await pool.close();
  }
}

/** The length of the answer's body, which is thrown away. */
function answerBytes(pool: Pool, options: Dispatcher.DispatchOptions): Promise<number> {
  return new Promise((resolve, reject) => {
    let bytes = 0;
    let status = 0;
    pool.dispatch(options, {
      onRequestStart: () => {},
      onResponseStart: (_controller, statusCode) => {
        status = statusCode;
      },
      onResponseData: (_controller, chunk) => {
        bytes += chunk.length;
      },
      onResponseEnd: () => {
        if (status === 200 && bytes > 0) resolve(bytes);
        else reject(new Error(`${options.path}: status ${status}, ${bytes} bytes`));
      },
      onResponseError: (_controller, error) => reject(error),
    });
  });
}

process.on("message", (request: LoadRequest) => {
  load(request).then(
    (result) => process.send?.({ result } satisfies LoadAnswer),
    (error: unknown) => process.send?.({ error: String(error) } satisfies LoadAnswer),
  );
});
process.on("disconnect", () => process.exit(0));
