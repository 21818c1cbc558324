/** The part of the public REST API that tells people what happens: events, pushes, refs with commits, work, charts. */
import { z } from "zod";
import { replicaState, type nodeState } from "./public-api.ts";

export const activityPaths = {
  /** GET: newest first. */
  events: "/api/events",
  /** GET: server-sent events, see streamMessages. */
  eventStream: "/api/events/stream",
  /** GET: branches or tags with their commits. */
  refs: (name: string) => `/api/refs/${name}`,
  /** GET: the last pushes. */
  pushes: (name: string) => `/api/pushes/${name}`,
  /** POST moveRequest: 202. DELETE ?from=: cancels it, 204. */
  moves: (name: string) => `/api/moves/${name}`,
  /** GET: steps of the repair, under way or failed. */
  work: "/api/work",
  /** GET: the cluster's charts. */
  metrics: "/api/metrics",
  nodeMetrics: (id: string) => `/api/nodes/${encodeURIComponent(id)}/metrics`,
  nodeReplicas: (id: string) => `/api/nodes/${encodeURIComponent(id)}/replicas`,
  /** POST: 200 with the node. */
  drain: (id: string) => `/api/nodes/${encodeURIComponent(id)}/_drain`,
  undrain: (id: string) => `/api/nodes/${encodeURIComponent(id)}/_undrain`,
} as const;

export const eventKind = z.enum([
  "repository-created",
  "repository-deleted",
  "repository-renamed",
  "repository-changed",
  "repository-adopted",
  "replica-added",
  "replica-removed",
  "replica-stale",
  "replica-preparing",
  "replica-ready",
  "replica-quarantined",
  "replica-damaged",
  "replica-moved-aside",
  "replica-sound",
  "replica-moving",
  "repair-failed",
  "repair-stuck",
  "node-joined",
  "node-returned",
  "node-dead",
  "node-alive",
  "node-draining",
  "node-undrained",
  "node-removed",
]);

export type EventKind = z.infer<typeof eventKind>;

const moment = z.int().describe("ms since 1970");
const limit = (most: number, usual: number) =>
  z.coerce.number().int().min(1).max(most).default(usual).describe(`Most items; default ${usual}`);

export const eventViewSchema = z.object({
  id: z.int().describe("Grows with time"),
  at: moment,
  kind: eventKind,
  repositoryId: z.string().describe('"" when it is about none'),
  repository: z.string().describe("Name, as it was then"),
  nodeId: z.string().describe('"" when it is about none'),
  node: z.string().describe('URL of the repository server; "" when it is gone'),
  detail: z.string().describe("A reason, an old name: what is not in the other fields"),
});
export type EventView = z.infer<typeof eventViewSchema>;

export const listEventsQuerySchema = z.strictObject({
  before: z.coerce.number().int().min(0).optional().describe("Only events below this id: the next page"),
  kind: z
    .string()
    .max(1000)
    .transform((text) => text.split(","))
    .pipe(z.array(eventKind))
    .optional()
    .describe("Only these kinds, separated by commas"),
  repository: z.string().max(255).optional().describe("Only about the repository of this name or id"),
  node: z.string().max(2048).optional().describe("Only about the node of this id, HOST:PORT or URL"),
  limit: limit(1000, 100),
});

export const listRefsQuerySchema = z.strictObject({
  kind: z.enum(["branches", "tags"]),
  contains: z.string().max(255).optional().describe("Only names with this in them"),
  cursor: z.string().max(8192).optional().describe("`next` of the page before"),
  limit: limit(200, 50),
});

const objectId = z.string();
export const commitViewSchema = z.object({
  id: objectId,
  author: z.string(),
  email: z.string(),
  at: moment,
  subject: z.string(),
});

export const refsViewSchema = z.object({
  total: z.int().describe("Without the search"),
  items: z.array(
    z.object({
      name: z.string().describe('Short, as in "main"'),
      id: objectId.describe("What the ref points to"),
      commit: commitViewSchema.nullable().describe("null when it is no commit, or nobody could say"),
    }),
  ),
  next: z.string().nullable().describe("Cursor of the next page"),
  commits: z.boolean().describe("Whether a repository server could say what the commits are"),
});
export type RefsView = z.infer<typeof refsViewSchema>;

export const listPushesQuerySchema = z.strictObject({ limit: limit(100, 20) });
export const pushViewSchema = z.object({
  generation: z.int(),
  pushId: z.string(),
  at: moment,
  actor: z.string().describe('Who pushed, as far as it is known; "" for pushes of long ago'),
  refs: z.array(
    z.object({ name: z.string(), old: objectId.nullable(), new: objectId.nullable().describe("null: deleted") }),
  ),
  refsTotal: z.int().describe("Of a very large push, not all of them are counted"),
  replicas: z.array(
    z.object({ nodeId: z.string(), url: z.string(), ms: z.number().describe("Until it had the objects durably") }),
  ),
});
export type PushView = z.infer<typeof pushViewSchema>;

export const moveRequestSchema = z.strictObject({
  from: z.string().max(2048).describe("Id, HOST:PORT or URL of a repository server that has a replica"),
  to: z.string().max(2048).optional().describe("Where a replica is to be; default: chosen by room"),
});

export const cancelMoveQuerySchema = z.strictObject({
  from: z.string().max(2048).describe("Id, HOST:PORT or URL of the repository server that it was to leave"),
});

export const workViewSchema = z.object({
  repositoryId: z.string(),
  repository: z.string(),
  nodeId: z.string(),
  node: z.string().describe("URL"),
  kind: z.enum(["catch-up", "apply", "add", "remove", "verify"]),
  state: z.enum(["running", "failed"]),
  startedAt: moment,
  updatedAt: moment,
  progress: z.number().describe("Done part, 0 to 1; -1 when it is not known"),
  detail: z.string().describe("What goes on, or why it failed"),
  failures: z.int().describe("In a row"),
});
export type WorkView = z.infer<typeof workViewSchema>;

export const metricsQuerySchema = z.strictObject({
  minutes: z.coerce.number().int().min(5).max(1440).default(60).describe("How far back"),
});
const series = (text: string) => z.array(z.number().nullable()).describe(text);
export const metricsViewSchema = z.object({
  at: z.array(moment).describe("Each value is about the minute before"),
  pushes: z.array(z.number()),
  clones: z.array(z.number()),
  fetches: z.array(z.number()).describe("By clients that had something already"),
  bytesIn: z.array(z.number()),
  bytesOut: z.array(z.number()),
  pushMedianMs: series("null when there was none"),
  push95Ms: series("95 of 100 took no longer"),
});
export type MetricsView = z.infer<typeof metricsViewSchema>;

export const nodeMetricsViewSchema = z.object({
  at: z.array(moment).describe("Each value is about the minute before"),
  diskUsage: series("0 to 1"),
  loadAverage: series("For each processor"),
  pushes: z.array(z.number()).describe("That it took"),
  fetches: z.array(z.number()).describe("That it served"),
  stageMs: series("Mean time until it had a push durably"),
});
export type NodeMetricsView = z.infer<typeof nodeMetricsViewSchema>;

export const nodeReplicasQuerySchema = z.strictObject({
  after: z.string().max(255).optional().describe("Last name of the page before"),
  limit: limit(1000, 100),
});
export const nodeReplicaViewSchema = z.object({
  name: z.string(),
  status: replicaState,
  generation: z.int(),
  reason: z.string(),
  size: z.int(),
  since: moment.describe("Of the state"),
});
export type NodeReplicaView = z.infer<typeof nodeReplicaViewSchema>;

/** Of an answer of the event stream that begins while the metadata store does not answer this controller. */
export const storeDownHeader = "x-gitmesh-store-down";

/**
 * Messages of the event stream by their `event` field, with what their `data` is as JSON. What has an id is where a
 * client may go on from (Last-Event-ID). A "change" may come twice: it has the event's own id.
 */
export interface StreamMessages {
  /** First of all: who answers. */
  readonly hello: { readonly controller: string; readonly version: string };
  /** Has an id: from here on everything is sent. */
  readonly cursor: Record<string, never>;
  /** Has an id: the changes since Last-Event-ID were sent. Pushes were not: read lists again. */
  readonly resumed: Record<string, never>;
  /** Has an id: more happened than is sent; read everything again. */
  readonly reset: Record<string, never>;
  readonly change: EventView;
  readonly push: { readonly repository: string; readonly generation: number; readonly at: number };
  /** Every few seconds. */
  readonly nodes: readonly {
    readonly id: string;
    readonly state: z.infer<typeof nodeState>;
    readonly timestamp: number;
    readonly silentMs: number;
    readonly diskUsage: number;
    readonly load: number;
  }[];
  /**
   * Whether the metadata store answers, whenever that changes, and first of all to who comes while it does not; nothing
   * but "nodes" is told then. Optional: who does not know it misses nothing.
   */
  readonly store?: { readonly ok: boolean };
  /** There are new numbers for the charts. */
  readonly samples: Record<string, never>;
  /** What GET /api/work would answer now, whenever it changed. */
  readonly work: readonly WorkView[];
}
