/**
 * Every setting, as data: schema, default, unit and what it is for. config.ts reads them from flags, the environment
 * (`GITMESH_` and the name in upper snake case) and a file; docs/settings.md lists them and a test keeps both equal.
 */
import { z } from "zod";

const httpUrl = z
  .url({ protocol: /^https?$/, error: "must be an http:// or https:// URL" })
  .transform((url) => url.replace(/\/+$/, ""));
/** "host:port"; port 0 takes any free one. */
const listenAddress = z
  .string()
  .regex(/^(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\]):\d{1,5}$/, "must be HOST:PORT, as in 127.0.0.1:8081");
const urlList = z
  .string()
  .transform((text) =>
    text
      .split(",")
      .map((url) => url.trim())
      .filter((url) => url !== ""),
  )
  .pipe(z.array(httpUrl).min(1, "must name at least one URL"));
const hostList = z
  .string()
  .transform((text) =>
    text
      .split(",")
      .map((name) => name.trim())
      .filter((name) => name !== ""),
  )
  .pipe(z.array(z.string().regex(/^[A-Za-z0-9.-]{1,253}$/, "must be host names, without a port")));
const milliseconds = z.coerce.number().int().min(1).max(86_400_000);
const longMilliseconds = z.coerce
  .number()
  .int()
  .min(1)
  .max(366 * 86_400_000);
const bytes = z.coerce.number().int().min(1);
const count = z.coerce.number().int().min(1);
const flag = z.enum(["true", "false"]);
/** One secret, or two separated by a comma while it is changed: the first is sent, both are accepted. */
const secret = z.string().min(16, "must have at least 16 characters");
const logLevel = z.enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"]).default("info");

const shared = {
  name: z.string().min(1).max(64).describe("Name of this server in logs"),
  secret: secret.describe("Cluster secret that controllers and repository servers share"),
  logLevel: logLevel.describe("Least severe log lines that are written"),
  heartbeatIntervalMs: milliseconds.default(1000).describe("Time between two heartbeats of a repository server"),
  requestIdleMs: milliseconds
    .default(60_000)
    .describe("A client's request or answer that moves no byte for this long is ended"),
  connectionsMax: count
    .default(4096)
    .describe("Connections that are served at a time; requests on further ones are refused as busy"),
  shutdownMs: milliseconds.default(10_000).describe("How long a stopping server lets running requests finish"),
};

export const controllerSettingsSchema = z.object({
  ...shared,
  name: shared.name.default("controller"),
  listen: listenAddress.default("127.0.0.1:8081").describe("Address and port to listen on"),
  advertiseUrl: httpUrl
    .optional()
    .describe("URL under which git clients reach this controller; default: as the client asked"),
  database: z
    .string()
    .regex(
      /^(?:sqlite:.+|(?:mysql|mariadb|postgres|postgresql):\/\/.+)$/,
      "must be sqlite:FILE, mysql://, mariadb:// or postgres://",
    )
    .default("sqlite:./data/gitmesh.sqlite")
    .describe("Metadata store: sqlite:FILE, mysql://..., mariadb://... or postgres://..."),
  storeTimeoutMs: milliseconds
    .default(5000)
    .describe(
      "A metadata store that gives no sign of life for this long is down: requests are refused until it answers",
    ),
  commitResolveMs: milliseconds
    .default(30_000)
    .describe("How long the outcome of a change is asked for whose commit the metadata store did not answer"),
  staleReads: flag
    .default("false")
    .transform((text) => text === "true")
    .describe("true: while the metadata store does not answer, clones and fetches get what was read of it last"),
  replicas: count.max(16).default(3).describe("Replicas of a new repository"),
  writeQuorum: count
    .max(16)
    .optional()
    .describe(
      "READY replicas that must hold a push durably before it commits; default: the majority, and 1 when replicas is 2 or less",
    ),
  diskUsageMax: z.coerce
    .number()
    .gt(0)
    .max(1)
    .default(0.9)
    .describe("A repository server fuller than this gets no new replicas"),
  nodeTimeoutMs: milliseconds.default(5000).describe("A repository server not heard of for this long is dead"),
  repairGraceMs: milliseconds
    .default(600_000)
    .describe("A replica on a server dead for this long is rebuilt on another"),
  repairIntervalMs: milliseconds.default(1000).describe("Time between two looks for work of the background repair"),
  scrubIntervalMs: longMilliseconds
    .default(7 * 86_400_000)
    .describe("Every complete replica is verified (refs and git fsck) at least this often"),
  scrubShare: z.coerce
    .number()
    .gt(0)
    .max(1)
    .default(0.2)
    .describe("Part of its time that a repository server may spend on regular verifications"),
  asideKeepMs: longMilliseconds
    .default(7 * 86_400_000)
    .describe(
      "How long a surplus or damaged copy is kept aside before it is deleted, if the wanted number of verified replicas is elsewhere",
    ),
  deletedKeepMs: longMilliseconds
    .default(7 * 86_400_000)
    .describe("How long the copies of a deleted repository are kept aside before they are deleted"),
  leaseMs: milliseconds.default(5000).describe("Validity of the lease for background work"),
  nodeConnectMs: milliseconds.default(2000).describe("Time to connect to a repository server"),
  nodeIdleMs: milliseconds
    .default(10_000)
    .describe("A repository server that takes or gives no byte for this long while it is to drops out of a request"),
  applyMs: milliseconds
    .default(5000)
    .describe("How long the answer to a push waits for replicas to apply it to their own refs, or to fetch it"),
  packBytesMax: bytes.default(64 * 1024 ** 3).describe("Largest pack of one push"),
  commandsMax: count.default(200_000).describe("Most ref updates in one push"),
  fetchRequestBytesMax: bytes.default(64 * 1024 ** 2).describe("Largest request of a fetch (wants and haves)"),
  fetchRequestsBytesMax: bytes
    .default(512 * 1024 ** 2)
    .describe("Memory for the requests of all fetches together; further ones are refused as busy"),
  fetchCacheBytes: z.coerce
    .number()
    .int()
    .min(0)
    .default(1024 ** 3)
    .describe("Disk space for answers to fetches, which are kept for some minutes and given again; 0: none are"),
  fetchCacheDirectory: z
    .string()
    .min(1)
    .default("/var/tmp")
    .describe("Directory for answers to fetches that are kept, in files without a name; not one in memory"),
  pushesMax: count.default(128).describe("Most pushes at a time; further ones wait"),
  pushQueueMax: count.default(1024).describe("Most pushes that wait; further ones are refused as busy"),
  fetchesMax: count.default(512).describe("Most fetches and clones at a time; further ones wait"),
  fetchQueueMax: count.default(2048).describe("Most fetches and clones that wait; further ones are refused as busy"),
  queueMs: milliseconds
    .default(20_000)
    .describe(
      "How long a push or fetch waits for its turn before it is refused as busy; at most half of requestIdleMs",
    ),
  jsonBytesMax: bytes.default(64 * 1024).describe("Largest body of a REST request"),
  refSnapshotBytesMax: bytes.default(64 * 1024 ** 2).describe("Memory for cached ref snapshots"),
  eventKeepMs: z.coerce
    .number()
    .int()
    .min(60_000)
    .default(30 * 86_400_000)
    .describe("How long events (what changed the cluster) are kept"),
  refLogKeep: count.default(10_000).describe("Ref log entries kept of each repository"),
  refLogKeepMs: milliseconds
    .default(600_000)
    .describe("Younger ref log entries are kept, however many: by them the outcome of a push is found"),
});
export type ControllerSettings = z.infer<typeof controllerSettingsSchema>;

export const nodeSettingsSchema = z.object({
  ...shared,
  name: shared.name.default("node"),
  listen: listenAddress.default("127.0.0.1:8082").describe("Address and port to listen on"),
  advertiseUrl: httpUrl
    .optional()
    .describe(
      "URL under which controllers and other repository servers reach this one; default: http:// and the listen address",
    ),
  controllers: urlList.describe("Controller URLs, separated by commas; any that answers is used"),
  directory: z.string().min(1).default("./data/node").describe("Where the replicas are kept"),
  gitProcessesMax: count.default(64).describe("Most git processes at a time; further requests wait"),
  gitQueueMax: count
    .default(1000)
    .describe("Most requests that wait for a git process; further ones are refused as busy"),
  gitQueueMs: milliseconds
    .default(30_000)
    .describe("How long a request waits for a git process before it is refused as busy"),
});
export type NodeSettings = z.infer<typeof nodeSettingsSchema>;

export const consoleSettingsSchema = z.object({
  name: shared.name.default("console"),
  logLevel: logLevel.describe("Least severe log lines that are written"),
  shutdownMs: shared.shutdownMs,
  listen: listenAddress.default("127.0.0.1:8080").describe("Address and port to listen on"),
  controllers: urlList.describe("Controller URLs, separated by commas; any that answers is used"),
  hosts: hostList
    .default([])
    .describe(
      "Names that browsers reach the console by, separated by commas; addresses, names without a dot and the " +
        "machine's own are taken anyway",
    ),
});
export type ConsoleSettings = z.infer<typeof consoleSettingsSchema>;

/** How long a request waits for its turn, ms: one that waits must not be taken for one that does nothing. */
export function turnWaitMs(settings: Pick<ControllerSettings, "queueMs" | "requestIdleMs">): number {
  return Math.min(settings.queueMs, settings.requestIdleMs / 2);
}

/** The write quorum in force for a repository with this many wanted replicas. */
export function writeQuorumOf(replicasWanted: number, setting: number | undefined): number {
  if (setting !== undefined) return Math.min(setting, replicasWanted);
  return replicasWanted <= 2 ? 1 : Math.floor(replicasWanted / 2) + 1;
}
