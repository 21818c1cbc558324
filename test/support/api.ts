/** The public REST API as a client sees it. */
export interface ApiAnswer {
  readonly status: number;
  readonly headers: Headers;
  /** Parsed when it is JSON, text otherwise. */
  readonly body: unknown;
}

export interface RepositoryView {
  readonly id: string;
  readonly name: string;
  readonly cloneUrl: string;
  readonly description: string;
  readonly defaultBranch: string;
  readonly objectFormat: string;
  readonly replicas: number;
  readonly primaryNode: string;
  readonly timestamp: number;
  readonly generation: number;
  readonly size: number;
  readonly nodes: readonly {
    readonly url: string;
    readonly status: string;
    readonly generation: number;
    readonly reason: string;
  }[];
}

export interface NodeView {
  readonly id: string;
  readonly url: string;
  readonly state: string;
  readonly timestamp: number;
  readonly diskUsage: number;
  readonly repos: readonly { readonly name: string; readonly status: string }[];
}

export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: string;
  readonly detail: string;
}

const limitMs = 30_000;

/** One call; `body` is sent as JSON. */
export async function callApi(
  url: string,
  method: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<ApiAnswer> {
  const json = body === undefined ? {} : { "content-type": "application/json" };
  const answer = await fetch(url, {
    method,
    headers: { ...json, ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(limitMs),
    redirect: "manual",
  });
  const text = await answer.text();
  const isJson = /[/+]json\b/.test(answer.headers.get("content-type") ?? "");
  return { status: answer.status, headers: answer.headers, body: isJson ? (JSON.parse(text) as unknown) : text };
}
