/**
 * What controllers and repository servers say to each other: paths and schemas. All of it is under the cluster
 * secret: `Authorization: Bearer SECRET`.
 *
 * Calls that take long answer 200 at once with a stream of JSON lines (`progressLine`): text for people, keep-alive
 * lines at least every `keepAliveMs`, and one result at the end. No line for longer means that the node stalls.
 * Ref names in JSON are the byte strings of ref-name.ts.
 */
import { createHash } from "node:crypto";
import { z } from "zod";
import type { ObjectId, RefName } from "./ref-name.ts";

export const keepAliveMs = 1000;

const objectId = z.string().regex(/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/);
const refName = z.string().min(1).max(4096);
export const repositoryIdSchema = z.string().regex(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/);

/** Paths on a repository server. */
export const nodePaths = {
  /** POST replicaDescription: makes the bare repository (again is fine), 201. GET: replicaList. */
  replicas: "/node/v1/replicas",
  /** GET: replicaStatus. PATCH replicaDescription: new name, default branch, description, 204. */
  replica: (id: string) => `/node/v1/replicas/${id}`,
  /** POST retireRequest: moves the directory aside, 204 (also when there is none); 409 replica-in-use. */
  retire: (id: string) => `/node/v1/replicas/${id}/_retire`,
  /** POST one JSON line (stageHeader), then the pack's bytes; answers progress lines with a stageResult. */
  stage: (id: string) => `/node/v1/replicas/${id}/_stage`,
  /** GET: the index that this node makes of a push's pack as its lead; JSON lines, then bytes (node/lead-index.ts). */
  stagedIndex: (id: string, pushId: string) => `/node/v1/replicas/${id}/_staged-index/${pushId}`,
  /** POST applyRequest: 200 {generation}; 409 generation-gap with field `generation` when the replica is behind `base`. */
  apply: (id: string) => `/node/v1/replicas/${id}/_apply`,
  /** POST one JSON line (catchUpHeader), then a JSON line per ref [name, oid]; answers progress lines with a catchUpResult. */
  catchUp: (id: string) => `/node/v1/replicas/${id}/_catch-up`,
  /** POST fetchTipsRequest: answers progress lines with a stageResult. */
  fetchTips: (id: string) => `/node/v1/replicas/${id}/_fetch-tips`,
  /** POST commitsRequest: 200 commitsResponse. */
  commits: (id: string) => `/node/v1/replicas/${id}/_commits`,
  /** POST verifyRequest: answers progress lines with a verifyResult. */
  verify: (id: string) => `/node/v1/replicas/${id}/_verify`,
  /** GET: copiesResponse, what is on the disk. */
  copies: "/node/v1/copies",
  /** POST {entry}: deletes a copy that was moved aside, for good; 204 (also when there is none). */
  purge: "/node/v1/copies/_purge",
  /** POST: what the replica holds, proven; answers progress lines with a replicaInspection. */
  inspect: (id: string) => `/node/v1/replicas/${id}/_inspect`,
  /** git's own smart HTTP below this URL (info/refs?service=git-upload-pack, git-upload-pack): for controllers and peers. */
  git: (id: string) => `/node/v1/replicas/${id}/git`,
} as const;

/** Of git's answers to fetches: the refs of the replica were at least at this generation. */
export const refsGenerationHeader = "gitmesh-refs-generation";

/** Paths on a controller, for repository servers. */
export const clusterPaths = {
  /** POST registerRequest: 200 registerResponse; 409 node-conflict. */
  register: "/cluster/v1/register",
  /** POST heartbeatRequest: 200 heartbeatResponse. */
  heartbeat: "/cluster/v1/heartbeat",
} as const;

export const replicaDescriptionSchema = z.object({
  id: repositoryIdSchema,
  name: z.string(),
  objectFormat: z.enum(["sha1", "sha256"]),
  defaultBranch: refName,
  description: z.string(),
});
export type ReplicaDescription = z.infer<typeof replicaDescriptionSchema>;

export const replicaStatusSchema = z.object({
  id: repositoryIdSchema,
  /** Recorded generation; -1 when the directory holds no complete state yet. */
  generation: z.int().min(-1),
  sizeBytes: z.int().min(0),
  /** Another with each use of the replica: pushes, applies, catch-ups, starts of the server. */
  uses: z.string().max(100),
});
export type ReplicaStatus = z.infer<typeof replicaStatusSchema>;

export const retireRequestSchema = z.object({
  reason: z.string().max(200),
  /** Only if its `uses` (replicaStatus) are still these: who found it unwanted knew of no later use. */
  ifUses: z.string().max(100).optional(),
  /** By the asker's clock: a node whose clock is behind must not make the copy look old. */
  nowMs: z.int().optional(),
});
export type RetireRequest = z.infer<typeof retireRequestSchema>;
/** What is on the disk, whether or not the store knows it; `name` and `defaultBranch` are "" where they cannot be read. */
export const replicaListSchema = z.object({
  replicas: z.array(z.object({ id: repositoryIdSchema, name: z.string(), defaultBranch: z.string() })),
});
export type ReplicaList = z.infer<typeof replicaListSchema>;

export const replicaInspectionSchema = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("inspected"),
    id: repositoryIdSchema,
    name: z.string(),
    generation: z.int().min(-1),
    objectFormat: z.enum(["sha1", "sha256"]),
    defaultBranch: refName,
    /** Name, value, and what an annotated tag points to in the end. */
    refs: z.array(z.tuple([refName, objectId, objectId.nullable()])),
    /** Everything that the refs reach is there. */
    complete: z.boolean(),
  }),
  z.object({ kind: z.literal("node-failed"), message: z.string() }),
]);
export type ReplicaInspection = z.infer<typeof replicaInspectionSchema>;

const tipsSchema = z.array(
  z.object({
    name: refName,
    oid: objectId,
    /** Asks whether it is an ancestor of `oid`. */
    ancestor: objectId.optional(),
  }),
);

export const stageHeaderSchema = z.object({
  pushId: z.string().min(1).max(64),
  /** Distinct new values with the refs that get them. */
  tips: tipsSchema,
  /** Bytes of pack allowed. */
  packBytesMax: z.int().positive(),
  /** The push begins the repository: this replica offers its index to the others (stagedIndex), ... */
  leads: z.boolean().optional(),
  /** ... or may take that of the replica on the node with this base URL. */
  leadUrl: z.string().optional(),
});
export type StageHeader = z.infer<typeof stageHeaderSchema>;

/**
 * Staging for a replica that could not use the pack itself, since it lacks what the pack rests on: it fetches what the
 * tips reach from a replica that holds it. A replica without a generation refuses: it has a catch-up to do first.
 */
export const fetchTipsRequestSchema = z.object({
  tips: tipsSchema,
  /** Base URL of a git repository (nodePaths.git on a node that staged the push). */
  sourceUrl: z.string(),
});
export type FetchTipsRequest = z.infer<typeof fetchTipsRequestSchema>;

export const tipResultSchema = z.object({
  /** "missing": the object or something that it reaches is not there. */
  type: z.enum(["commit", "tree", "blob", "tag", "missing"]),
  /** What a tag points to in the end; absent when it is no tag. */
  peeled: objectId.optional(),
  /** Answer to `ancestor`. */
  fastForward: z.boolean().optional(),
});
export type TipResult = z.infer<typeof tipResultSchema>;

export const stageResultSchema = z.discriminatedUnion("kind", [
  /** Every object is durable in the replica's object store; `tips` in the order of the header's. */
  z.object({
    kind: z.literal("staged"),
    tips: z.array(tipResultSchema),
    packBytes: z.int(),
    /** The replica's recorded generation: the store must be at least there. */
    generation: z.int().min(-1).optional(),
  }),
  /** The pack is bad: the client's fault, no evidence against the node. `message` is git's, fit for "unpack ...". */
  z.object({ kind: z.literal("bad-pack"), message: z.string() }),
  /** The node could not: disk, processes, a bug. */
  z.object({ kind: z.literal("node-failed"), message: z.string() }),
  /** The node has as much work as it may take, and has taken nothing of this. */
  z.object({ kind: z.literal("busy"), message: z.string() }),
]);
export type StageResult = z.infer<typeof stageResultSchema>;

/** [name, new value or null for a delete]; absolute, so that applying twice is safe. */
export const refUpdateSchema = z.tuple([refName, objectId.nullable()]);
export type RefUpdate = z.infer<typeof refUpdateSchema>;

export const applyRequestSchema = z.object({
  /** The changes lead from this generation ... */
  base: z.int().min(0),
  /** ... to this one. A replica at or beyond it answers at once. */
  generation: z.int().min(1),
  updates: z.array(refUpdateSchema),
});
export type ApplyRequest = z.infer<typeof applyRequestSchema>;
export const applyResponseSchema = z.object({ generation: z.int() });

export const catchUpHeaderSchema = z.object({
  replica: replicaDescriptionSchema,
  /** The refs that follow are those of this generation. */
  generation: z.int().min(0),
  /**
   * Base URL of a git repository (nodePaths.git on a READY node) to fetch missing objects from; null when there is no
   * READY replica: then the node is to prove that it has everything, trusting none of its own refs.
   */
  sourceUrl: z.string().nullable(),
  /** The copy is known to be damaged: the proof is to read every object. */
  damaged: z.boolean().optional(),
});
export type CatchUpHeader = z.infer<typeof catchUpHeaderSchema>;

export const catchUpResultSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("caught-up"), generation: z.int() }),
  z.object({
    kind: z.literal("node-failed"),
    message: z.string(),
    /** The source said that it lacks, or cannot read, what is wanted of it. */
    sourceFailed: z.boolean().optional(),
  }),
]);
export type CatchUpResult = z.infer<typeof catchUpResultSchema>;

export const commitsRequestSchema = z.object({ oids: z.array(objectId).max(1000) });
/** Those that are commits of this replica. */
export const commitsResponseSchema = z.object({
  commits: z.array(
    z.object({
      oid: objectId,
      author: z.string(),
      email: z.string(),
      /** Of authorship, seconds since 1970. */
      authoredS: z.int(),
      subject: z.string(),
    }),
  ),
});
export type CommitSummary = z.infer<typeof commitsResponseSchema>["commits"][number];
export const verifyRequestSchema = z.object({
  /** The refs that the hash is of are those of this generation. */
  generation: z.int().min(0),
  refsHash: z.string().regex(/^[0-9a-f]{64}$/),
  /** Also reads every object; otherwise the refs are compared only, which is quick. */
  objects: z.boolean(),
});
export type VerifyRequest = z.infer<typeof verifyRequestSchema>;

export const verifyResultSchema = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("verified"),
    /** Of the refs on disk when they were compared; -1 when none is recorded. */
    generation: z.int(),
    /** "not-compared": the replica is at another generation. */
    refs: z.enum(["same", "differ", "not-compared"]),
    /** What `git fsck` found wrong; empty when it is sound. */
    problems: z.array(z.string()),
  }),
  z.object({ kind: z.literal("node-failed"), message: z.string() }),
]);
export type VerifyResult = z.infer<typeof verifyResultSchema>;

/** Hash of a repository's refs, given in any order: SHA-256 of the lines "oid name" in bytewise order of name. */
export function hashOfRefs(refs: Iterable<readonly [RefName, ObjectId]>): string {
  const hash = createHash("sha256");
  // Names are byte strings: the order of their characters is that of their bytes.
  const sorted = [...refs].toSorted(([one], [other]) => (one < other ? -1 : Number(one > other)));
  for (const [name, oid] of sorted) hash.update(`${oid} ${name}\n`, "latin1");
  return hash.digest("hex");
}

export const asideCopySchema = z.object({
  /** Its name in the node's directory aside/. */
  entry: z.string(),
  repositoryId: repositoryIdSchema,
  /** As its own record has it; "" when that cannot be read. */
  name: z.string(),
  reason: z.string(),
  /** By the node's clock. */
  movedMs: z.int(),
  /** How long ago that was, by the node's clock: another clock's opinion than the reader's. */
  ageMs: z.int(),
  sizeBytes: z.int(),
});
export type AsideCopy = z.infer<typeof asideCopySchema>;

export const copiesResponseSchema = z.object({
  replicas: z.array(z.object({ repositoryId: repositoryIdSchema, name: z.string(), generation: z.int() })),
  aside: z.array(asideCopySchema),
});
export type CopiesResponse = z.infer<typeof copiesResponseSchema>;

export const purgeRequestSchema = z.object({ entry: z.string().max(200) });

/** One line of a long answer. */
export type ProgressLine<R> = { readonly progress: string } | { readonly alive: true } | { readonly result: R };

export const registerRequestSchema = z.object({
  id: z.string().min(1).max(64),
  url: z.url(),
  bootId: z.string().min(1).max(64),
  version: z.string().max(64),
  diskUsage: z.number().min(0).max(1),
  diskFreeBytes: z.int().min(0),
  inventory: z.array(z.object({ repositoryId: repositoryIdSchema, generation: z.int().min(-1) })),
});
export type RegisterRequest = z.infer<typeof registerRequestSchema>;

export type RegisterResponse = z.infer<typeof registerResponseSchema>;
export const registerResponseSchema = z.object({
  /** To be moved aside now: a person deleted them. */
  deletedRepositoryIds: z.array(repositoryIdSchema),
  orphanRepositoryIds: z.array(repositoryIdSchema),
});

export const heartbeatRequestSchema = z.object({
  id: z.string().min(1).max(64),
  bootId: z.string().min(1).max(64),
  diskUsage: z.number().min(0).max(1),
  diskFreeBytes: z.int().min(0),
  /** Of the operating system over a minute, for each processor. */
  loadAverage: z.number().min(0).optional(),
  /** What the last answer said: a store with an older heartbeat of this node has lost something. */
  lastHeartbeatMs: z.number().optional(),
  /** Of replicas that changed since the last heartbeat that was answered. */
  sizes: z.array(z.object({ repositoryId: repositoryIdSchema, sizeBytes: z.int().min(0) })),
  /** Replicas that git stumbled over since then: they may be damaged. */
  suspects: z.array(repositoryIdSchema).optional(),
});
export type HeartbeatRequest = z.infer<typeof heartbeatRequestSchema>;

export type HeartbeatResponse = z.infer<typeof heartbeatResponseSchema>;
export const heartbeatResponseSchema = z.object({
  /** True: register again (the controller does not know this start of the node). */
  register: z.boolean(),
  /** As the store has this heartbeat, ms since 1970. */
  heartbeatMs: z.number().optional(),
});
