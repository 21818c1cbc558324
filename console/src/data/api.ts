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
import { takeEarly } from "./early.ts";

export type { ClusterView, EventView, MetricsView, NodeMetricsView, NodeReplicaView, NodeView, PushView, RefsView };
export type { RepairView, RepositoryView, WorkView };

/** Copies on disks that are no replicas. */
export interface CopiesView {
  readonly copies: readonly {
    readonly kind: "orphan" | "aside";
    readonly url: string;
    readonly repositoryId: string;
    readonly name: string;
    readonly reason: string;
    /** When it was moved aside, ms since 1970; -1 for an orphan. */
    readonly since: number;
    /** Bytes. */
    readonly size: number;
  }[];
  /** Nodes that did not say what they have. */
  readonly unreachable: readonly string[];
}

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

/** Longer than the console's server waits for a controller (src/console/controllers.ts): its answer says more. */
const changeMs = 75_000;
const readMs = 30_000;

interface Asked {
  readonly method?: "GET" | "POST" | "PATCH" | "DELETE";
  readonly body?: unknown;
  /** Ends it: nobody waits any more. */
  readonly signal?: AbortSignal | undefined;
}

async function call(path: string, { method = "GET", body, signal }: Asked = {}): Promise<Response> {
  const timeout = AbortSignal.timeout(method === "GET" ? readMs : changeMs);
  let answer: Response;
  try {
    const early = method === "GET" ? await takeEarly(path) : undefined;
    answer =
      early ??
      (await fetch(path, {
        method,
        signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
        ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
      }));
  } catch (error) {
    if (signal?.aborted === true) throw error;
    throw new ApiError(withoutAnswer(method, timeout.aborted), 0);
  }
  if (answer.ok) return answer;
  throw new ApiError(await problemOf(answer), answer.status);
}

/** A change may have arrived before the connection broke or the time was up: nobody can say that it did not. */
function withoutAnswer(method: string, isLate: boolean): Record<string, string> {
  const detail = isLate
    ? "No answer came in time."
    : "The connection to the console's server broke, or it is not running.";
  if (method !== "GET") {
    return {
      code: "outcome-unknown",
      title: "Whether it was done is not known",
      detail,
      remedy: "Look whether it took effect before you try again.",
    };
  }
  return isLate
    ? { code: "timeout", title: "It takes too long", detail, remedy: "Try again." }
    : {
        code: "no-connection",
        title: "The console's server does not answer",
        detail,
        remedy: "It is tried again by itself; nothing was lost.",
      };
}

async function problemOf(answer: Response): Promise<Record<string, unknown>> {
  try {
    return (await answer.json()) as Record<string, unknown>;
  } catch {
    return { title: `The server answered with status ${answer.status}`, detail: "It gave no reason." };
  }
}

async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await call(path, { signal })).json()) as T;
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
  /** What the search finds; asked for with the first page only. */
  readonly total: number | undefined;
}

export interface NewRepository {
  readonly replicas: number;
  readonly defaultBranch: string;
  readonly description: string;
  readonly objectFormat: "sha1" | "sha256";
}

type Signal = AbortSignal | undefined;

const node = (id: string): string => `/api/nodes/${encodeURIComponent(id)}`;

export const api = {
  cluster: (signal: Signal) => get<ClusterView>("/api/cluster", signal),
  metrics: (signal: Signal) => get<MetricsView>("/api/metrics", signal),
  nodes: (signal: Signal) => get<NodeView[]>("/api/nodes?repos=false", signal),
  node: (id: string, signal: Signal) => get<NodeView>(`${node(id)}?repos=false`, signal),
  nodeMetrics: (id: string, signal: Signal) => get<NodeMetricsView>(`${node(id)}/metrics`, signal),
  nodeReplicas: (id: string, after: string | undefined, limit: number, signal: Signal) =>
    get<NodeReplicaView[]>(`${node(id)}/replicas${query({ after, limit })}`, signal),
  async drain(id: string, draining: boolean): Promise<void> {
    await call(`${node(id)}/${draining ? "_drain" : "_undrain"}`, { method: "POST" });
  },
  async removeNode(id: string, force: boolean): Promise<void> {
    await call(`${node(id)}${force ? "?force=true" : ""}`, { method: "DELETE" });
  },
  async repositories(
    search: RepositorySearch,
    { cursor, limit, count }: { readonly cursor: string | undefined; readonly limit: number; readonly count: boolean },
    signal: Signal,
  ): Promise<RepositoryPage> {
    const asked = { ...search, cursor, limit, count: count ? "true" : undefined };
    const answer = await call(`/api/repos${query(asked)}`, { signal });
    const next = /[?&]cursor=([^&>]+)/.exec(answer.headers.get("link") ?? "")?.[1];
    const total = answer.headers.get("x-total-count");
    return {
      items: (await answer.json()) as RepositoryView[],
      next: next === undefined ? undefined : decodeURIComponent(next),
      total: total === null ? undefined : Number(total),
    };
  },
  repository: (name: string, signal?: Signal) => get<RepositoryView>(`/api/repos/${name}`, signal),
  async createRepository(name: string, settings: NewRepository): Promise<RepositoryView> {
    return (await (await call(`/api/repos/${name}`, { method: "POST", body: settings })).json()) as RepositoryView;
  },
  async changeRepository(name: string, changes: Readonly<Record<string, unknown>>): Promise<RepositoryView> {
    return (await (await call(`/api/repos/${name}`, { method: "PATCH", body: changes })).json()) as RepositoryView;
  },
  async deleteRepository(name: string): Promise<void> {
    await call(`/api/repos/${name}`, { method: "DELETE" });
  },
  refs: (
    name: string,
    search: {
      readonly kind: "branches" | "tags";
      readonly contains: string;
      readonly cursor: string | undefined;
      readonly limit: number;
    },
    signal: Signal,
  ) => get<RefsView>(`/api/refs/${name}${query(search)}`, signal),
  pushes: (name: string, signal: Signal) => get<PushView[]>(`/api/pushes/${name}?limit=15`, signal),
  async moveReplica(name: string, from: string, to: string): Promise<void> {
    await call(`/api/moves/${name}`, { method: "POST", body: to === "" ? { from } : { from, to } });
  },
  /** The replica on the node `from` stays. */
  async cancelMove(name: string, from: string): Promise<void> {
    await call(`/api/moves/${name}?from=${encodeURIComponent(from)}`, { method: "DELETE" });
  },
  async verifyRepository(name: string): Promise<void> {
    await call(`/api/repos/${name}/_verify`, { method: "POST" });
  },
  async rebuildReplica(name: string, nodeId: string): Promise<void> {
    await call(`/api/repos/${name}/_rebuild?node=${encodeURIComponent(nodeId)}`, { method: "POST" });
  },
  work: (signal: Signal) => get<WorkView[]>("/api/work", signal),
  repair: (signal: Signal) => get<RepairView>("/api/repair", signal),
  copies: (signal: Signal) => get<CopiesView>("/api/repair/copies", signal),
  events: (
    filter: Readonly<Record<string, string | undefined>>,
    before: number | undefined,
    limit: number,
    signal?: Signal,
  ) => get<EventView[]>(`/api/events${query({ ...filter, before, limit })}`, signal),
};
