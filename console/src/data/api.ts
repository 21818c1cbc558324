/** Calls of the public API. Every failure is an ApiError, in words for people. */
import type {
  PushView,
  RefsView,
  EventView,
  MetricsView,
  NodeMetricsView,
  NodeReplicaView,
  WorkView,
} from "../../../src/protocol/activity-api.ts";
import type { ClusterView, NodeView, RepairView, RepositoryView } from "../../../src/protocol/public-api.ts";

export type { ClusterView, EventView, MetricsView, NodeMetricsView, NodeReplicaView, NodeView, PushView, RefsView };
export type { RepairView, RepositoryView, WorkView };

/** What went wrong, and what to do about it. */
export class ApiError extends Error {
  readonly code: string;
  readonly status: number;
  readonly title: string;
  readonly remedy: string;
  readonly requestId: string;

  constructor(problem: Readonly<Record<string, unknown>>, status: number) {
    const text = (name: string): string => (typeof problem[name] === "string" ? problem[name] : "");
    super(text("detail"));
    this.name = "ApiError";
    this.code = text("code");
    this.status = status;
    this.title = text("title") || "The request failed";
    this.remedy = text("remedy");
    this.requestId = text("requestId");
  }
}

const callMs = 30_000;

async function call(method: string, path: string, body?: unknown): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(path, {
      method,
      signal: AbortSignal.timeout(callMs),
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    });
  } catch {
    const problem = {
      code: "no-connection",
      title: "The console's server does not answer",
      detail: "The connection to it is lost, or it is not running.",
      remedy: "Nothing was lost here: try again when the connection is back.",
    };
    throw new ApiError(problem, 0);
  }
  if (answer.ok) return answer;
  throw new ApiError(await problemOf(answer), answer.status);
}

async function problemOf(answer: Response): Promise<Record<string, unknown>> {
  try {
    return (await answer.json()) as Record<string, unknown>;
  } catch {
    return { title: `The server answered with status ${answer.status}`, detail: "It gave no reason." };
  }
}

async function get<T>(path: string): Promise<T> {
  return (await (await call("GET", path)).json()) as T;
}

function query(values: Readonly<Record<string, string | number | undefined>>): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined && value !== "") search.set(name, String(value));
  }
  const text = search.toString();
  return text === "" ? "" : `?${text}`;
}

export interface RepositorySearch {
  readonly contains: string;
  readonly state: "" | "healthy" | "degraded";
  readonly sort: string;
}

export interface RepositoryPage {
  readonly items: readonly RepositoryView[];
  readonly next: string | undefined;
  readonly total: number;
}

export interface NewRepository {
  readonly replicas: number;
  readonly defaultBranch: string;
  readonly description: string;
  readonly objectFormat: "sha1" | "sha256";
}

export const api = {
  cluster: () => get<ClusterView>("/api/cluster"),
  metrics: () => get<MetricsView>("/api/metrics"),
  nodes: () => get<NodeView[]>("/api/nodes?repos=false"),
  node: (id: string) => get<NodeView>(`/api/nodes/${encodeURIComponent(id)}?repos=false`),
  nodeMetrics: (id: string) => get<NodeMetricsView>(`/api/nodes/${encodeURIComponent(id)}/metrics`),
  nodeReplicas: (id: string, after: string | undefined, limit: number) =>
    get<NodeReplicaView[]>(`/api/nodes/${encodeURIComponent(id)}/replicas${query({ after, limit })}`),
  async drain(id: string, draining: boolean): Promise<void> {
    await call("POST", `/api/nodes/${encodeURIComponent(id)}/${draining ? "_drain" : "_undrain"}`);
  },
  async removeNode(id: string, force: boolean): Promise<void> {
    await call("DELETE", `/api/nodes/${encodeURIComponent(id)}${force ? "?force=true" : ""}`);
  },
  async repositories(search: RepositorySearch, cursor: string | undefined, limit: number): Promise<RepositoryPage> {
    const answer = await call("GET", `/api/repos${query({ ...search, cursor, limit, count: "true" })}`);
    const next = /[?&]cursor=([^&>]+)/.exec(answer.headers.get("link") ?? "")?.[1];
    return {
      items: (await answer.json()) as RepositoryView[],
      next: next === undefined ? undefined : decodeURIComponent(next),
      total: Number(answer.headers.get("x-total-count") ?? 0),
    };
  },
  repository: (name: string) => get<RepositoryView>(`/api/repos/${name}`),
  async createRepository(name: string, settings: NewRepository): Promise<RepositoryView> {
    return (await (await call("POST", `/api/repos/${name}`, settings)).json()) as RepositoryView;
  },
  async changeRepository(name: string, changes: Readonly<Record<string, unknown>>): Promise<RepositoryView> {
    return (await (await call("PATCH", `/api/repos/${name}`, changes)).json()) as RepositoryView;
  },
  async deleteRepository(name: string): Promise<void> {
    await call("DELETE", `/api/repos/${name}`);
  },
  refs: (name: string, kind: "branches" | "tags", contains: string, cursor: string | undefined) =>
    get<RefsView>(`/api/refs/${name}${query({ kind, contains, cursor, limit: 25 })}`),
  pushes: (name: string) => get<PushView[]>(`/api/pushes/${name}?limit=15`),
  async moveReplica(name: string, from: string, to: string): Promise<void> {
    await call("POST", `/api/moves/${name}`, to === "" ? { from } : { from, to });
  },
  async verifyRepository(name: string): Promise<void> {
    await call("POST", `/api/repos/${name}/_verify`);
  },
  async rebuildReplica(name: string, nodeId: string): Promise<void> {
    await call("POST", `/api/repos/${name}/_rebuild?node=${encodeURIComponent(nodeId)}`);
  },
  work: () => get<WorkView[]>("/api/work"),
  repair: () => get<RepairView>("/api/repair"),
  events: (filter: Readonly<Record<string, string | undefined>>, before: number | undefined, limit: number) =>
    get<EventView[]>(`/api/events${query({ ...filter, before, limit })}`),
};
