/**
 * The public REST API: schemas of its requests and answers, shared by the controller, the CLI and the console.
 * Answers are JSON; errors are RFC 9457 problem documents (base/errors.ts).
 *
 * Lists are bare arrays. Where there is more, a `Link: <...>; rel="next"` header (RFC 8288) has the next page's address.
 */
import { z } from "zod";
import { checkRefName, refNameFromText, refNameText, type RefName } from "./ref-name.ts";

const branchPrefix = "refs/heads/";
const descriptionCharactersMax = 1000;
export const pageItemsDefault = 1000;
export const pageItemsMax = 10_000;

/** The full name of a branch given as "main" or "refs/heads/main". */
export function branchRefName(text: string): RefName {
  return refNameFromText(text.startsWith(branchPrefix) ? text : branchPrefix + text);
}

/** The short name of a branch, "main" for refs/heads/main. */
export function branchShortName(name: RefName): string {
  const text = refNameText(name);
  return text.startsWith(branchPrefix) ? text.slice(branchPrefix.length) : text;
}

/** Paths of the API. */
export const apiPaths = {
  repositories: "/api/repos",
  /** `name` is a valid repository name, which needs no encoding. */
  repository: (name: string) => `/api/repos/${name}`,
  /** POST: every complete replica is to be verified now. */
  verifyRepository: (name: string) => `/api/repos/${name}/_verify`,
  /** POST ?node=: that replica's copy is moved aside and filled anew. */
  rebuildRepository: (name: string, node: string) => `/api/repos/${name}/_rebuild?node=${encodeURIComponent(node)}`,
  deleteRepository: (name: string) => `/api/repos/${name}/_delete`,
  adoptions: "/api/adoptions",
  /** `name`: a repository's name or id. */
  adoption: (name: string) => `/api/adoptions/${name}`,
  nodes: "/api/nodes",
  /** `id`: the node's id, its HOST:PORT or its URL. */
  node: (id: string) => `/api/nodes/${encodeURIComponent(id)}`,
  cluster: "/api/cluster",
  dataLoss: "/api/cluster/dataloss",
  repair: "/api/repair",
  copies: "/api/repair/copies",
  openApi: "/api/openapi.json",
  health: "/healthz",
  ready: "/readyz",
} as const;

const branch = z
  .string()
  .min(1)
  .superRefine((text, context) => {
    const reason = checkRefName(branchRefName(text));
    if (reason !== undefined) context.addIssue({ code: "custom", message: `no branch name: it ${reason}` });
  })
  .describe('Branch that HEAD points to, as in "main"; it need not exist yet');
const description = z.string().max(descriptionCharactersMax).describe("For people");
const replicas = z.int().min(1).max(16).describe("Number of replicas");
const objectFormat = z.enum(["sha1", "sha256"]);
export const replicaState = z
  .enum(["PREPARING", "READY", "STALE", "QUARANTINED"])
  .describe(
    "READY: has every committed object; PREPARING: being filled; STALE: missed something, catches up; QUARANTINED: disagrees",
  );
const queryFlag = z.enum(["true", "false"]);

export const createRepositoryRequestSchema = z.strictObject({
  replicas: replicas.optional(),
  defaultBranch: branch.optional(),
  objectFormat: objectFormat.optional().describe("Hash of its objects; default sha1"),
  description: description.optional(),
});

export const updateRepositoryRequestSchema = z.strictObject({
  name: z.string().min(1).optional().describe("New name"),
  replicas: replicas.optional(),
  defaultBranch: branch.optional(),
  description: description.optional(),
  denyDeletes: z.boolean().optional().describe("Refuse pushes that delete refs"),
  denyNonFastForwards: z.boolean().optional().describe("Refuse pushes that would lose commits of a branch"),
});

export const listRepositoriesQuerySchema = z.strictObject({
  contains: z.string().max(255).optional().describe("Only names with this in them"),
  state: z.enum(["healthy", "degraded"]).optional().describe("degraded: fewer READY replicas than wanted"),
  sort: z.enum(["name", "-name", "pushed", "-pushed", "created", "-created"]).optional().describe('"-" reverses'),
  cursor: z.string().max(1024).optional().describe("From the Link header of the page before"),
  limit: z.coerce
    .number()
    .int()
    .min(1)
    .max(pageItemsMax)
    .optional()
    .describe(`Most items; default ${pageItemsDefault}`),
  count: queryFlag.optional().describe('"true": the answer has X-Total-Count, the number that the search finds'),
});
export type ListRepositoriesQuery = z.infer<typeof listRepositoriesQuerySchema>;

export const nodeState = z
  .enum(["ALIVE", "SUSPECT", "DEAD"])
  .describe("SUSPECT: does not answer this controller; DEAD: no heartbeat");

export const replicaViewSchema = z.object({
  url: z.string().describe("Of the repository server"),
  status: replicaState,
  generation: z.int().describe("Newest ref transaction that the replica has confirmed; -1 for none"),
  nodeId: z.string(),
  nodeState,
  reason: z.string().describe("Why it is not READY, or what is wrong with one that is"),
  since: z.int().describe("Of the state, ms since 1970"),
  leaving: z.boolean().describe("It is to leave its repository server once the others are READY"),
  size: z.int().describe("Bytes on disk"),
  verifiedAt: z.int().describe("When it was last found sound, ms since 1970; -1: never; -2: asked for"),
});

export const repositoryViewSchema = z.object({
  id: z.string(),
  name: z.string(),
  description: z.string(),
  cloneUrl: z.string(),
  objectFormat,
  defaultBranch: z.string().describe('Short, as in "main"'),
  replicas: z.int().describe("Number wanted"),
  denyDeletes: z.boolean(),
  denyNonFastForwards: z.boolean(),
  timestamp: z.int().describe("Of the last push, ms since 1970; -1 before the first"),
  createdAt: z.int().describe("ms since 1970"),
  generation: z.int().describe("Number of committed ref transactions"),
  aheadGeneration: z
    .int()
    .describe("Generation of a replica that the metadata store has lost: an adoption is needed; -1: none"),
  size: z.int().describe("Bytes on disk of the largest replica"),
  primaryNode: z.string().describe('URL of the first live repository server with a READY replica; "": there is none'),
  nodes: z.array(replicaViewSchema),
});
export type RepositoryView = z.infer<typeof repositoryViewSchema>;

const adoptionKind = z
  .enum(["behind", "orphan"])
  .describe("behind: its replicas are ahead of the metadata store; orphan: only repository servers know it");

export const adoptableViewSchema = z.object({
  repositoryId: z.string(),
  name: z.string(),
  kind: adoptionKind,
  storeGeneration: z.int().describe("-1: the metadata store does not have it"),
  seenGeneration: z.int().describe("The latest that a copy was seen at"),
  nodes: z.array(z.string()).describe("URLs of the repository servers with a copy, of an orphan"),
});

export const adoptionPlanViewSchema = z.object({
  repositoryId: z.string(),
  name: z.string(),
  kind: adoptionKind,
  problem: z.string().describe('Why it cannot be done as it is; "" when it can'),
  digest: z.string().describe("Names this plan, for POST"),
  storeGeneration: z.int().describe("-1: the metadata store does not have it"),
  generation: z.int().describe("Of the copies that are adopted; -1 when it is not clear which"),
  newGeneration: z.int().describe("Of the repository afterwards"),
  added: z.int().describe("Refs added"),
  changed: z.int().describe("Refs changed"),
  removed: z.int().describe("Refs removed"),
  refs: z
    .array(
      z.object({
        name: z.string(),
        kind: z.enum(["added", "changed", "removed"]),
        from: z.string().nullable(),
        to: z.string().nullable(),
      }),
    )
    .describe("The first 1000 of them"),
  copies: z.array(
    z.object({
      nodeId: z.string(),
      url: z.string(),
      generation: z.int().describe("-1: none, or not known"),
      refs: z.string().describe("Digest of its refs: equal ones are equal"),
      complete: z.boolean().describe("Everything that its refs reach is there"),
      after: z
        .enum(["READY", "STALE", "REFILLED", "LEFT"])
        .describe("STALE: catches up; REFILLED: moved aside and filled anew; LEFT: stays, as no replica"),
      problem: z.string(),
    }),
  ),
});
export type AdoptionPlanView = z.infer<typeof adoptionPlanViewSchema>;

const fromNode = z.string().min(1).max(2048).describe("Id, HOST:PORT or URL of the repository server to take it from");
export const adoptionQuerySchema = z.strictObject({ from: fromNode.optional() });
export const adoptionRequestSchema = z.strictObject({
  digest: z.string().min(1).max(64).describe("Of the plan that was shown"),
  from: fromNode.optional(),
});

export const listNodesQuerySchema = z.strictObject({
  repos: queryFlag.optional().describe('"false" leaves out `repos`'),
});

export const nodeViewSchema = z.object({
  id: z.string(),
  url: z.string(),
  state: nodeState,
  timestamp: z.int().describe("Of the last heartbeat, ms since 1970"),
  registeredAt: z.int().describe("ms since 1970"),
  diskUsage: z.number().describe("Used part of the file system, 0 to 1"),
  diskFree: z.int().describe("Bytes"),
  draining: z.boolean().describe("Its replicas are to be elsewhere"),
  silentMs: z.int().describe("Time without a heartbeat, ms, as this controller counts it"),
  load: z.number().describe("Of its operating system over a minute, for each processor; -1 when it is not known"),
  replicas: z
    .object({ READY: z.int(), PREPARING: z.int(), STALE: z.int(), QUARANTINED: z.int() })
    .describe("Number by state"),
  version: z.string(),
  repos: z.array(z.object({ name: z.string(), status: replicaState })),
});
export type NodeView = z.infer<typeof nodeViewSchema>;

export const removeNodeQuerySchema = z.strictObject({
  force: queryFlag.optional().describe('"true": even if repositories are left with fewer READY replicas than wanted'),
});

export const clusterViewSchema = z.object({
  version: z.string(),
  controller: z.string().describe("Name of the controller that answered"),
  store: z.object({ engine: z.string(), ok: z.boolean() }),
  nodes: z.object({ total: z.int(), alive: z.int(), suspect: z.int(), dead: z.int() }),
  repositories: z
    .object({
      total: z.int(),
      degraded: z.int().describe("With fewer READY replicas than wanted"),
      behind: z.int().describe("That have lost pushes which their replicas have: see /api/adoptions"),
      wantedLeast: z.int().describe("Replicas that one wants, at least"),
      wantedMost: z.int(),
    })
    .nullable()
    .describe("null while the store does not answer"),
  defaults: z.object({
    replicas: z.int().describe("Of a new repository"),
    defaultBranch: z.string(),
    diskUsageMax: z.number().describe("A fuller repository server gets no new replicas, 0 to 1"),
    repairGraceMs: z.int().describe("A replica on a server dead for this long is rebuilt on another"),
  }),
  repair: z.object({
    leader: z.boolean().describe("This controller runs the background repair"),
    running: z.array(z.string()).describe("What is being repaired, when this one does"),
  }),
});
export type ClusterView = z.infer<typeof clusterViewSchema>;

const repairStep = z
  .enum(["catch-up", "apply", "add", "remove", "move", "wait"])
  .describe("What the repair does next; move: it leaves once the others are READY; wait: nothing can be done now");

export const repairViewSchema = z.object({
  leader: z.string().nullable().describe("Name of the controller that runs the background work; null when none does"),
  work: z
    .array(
      z.object({
        repository: z.string(),
        nodeId: z.string(),
        url: z.string(),
        status: replicaState.nullable().describe("null for a replica that is to be added"),
        step: repairStep,
        reason: z.string(),
        since: z
          .int()
          .describe("Of the state, or of the move, ms since 1970; -1 for one that is to be added, or not known"),
        to: z.string().describe('URL of where it moves; "" when that is not known yet, or it does not move'),
        progress: z.number().describe("Done part of what is under way, 0 to 1; -1: nothing is, or it is not known"),
        startedAt: z.int().describe("When that began, ms since 1970; -1: nothing is under way"),
      }),
    )
    .describe("At most of some 1000 repositories"),
  stuck: z.array(z.object({ repository: z.string(), reason: z.string() })).describe("What needs a person"),
  scrub: z.object({
    replicas: z.int().describe("Complete replicas"),
    verified: z.int().describe("Of these, verified within the interval"),
    oldest: z.int().describe("The longest ago that one was verified, ms since 1970; -1: one never was"),
    interval: z.int().describe("ms"),
  }),
});
export type RepairView = z.infer<typeof repairViewSchema>;

export const listCopiesQuerySchema = z.strictObject({
  offset: z.coerce.number().int().min(0).default(0).describe("How many to leave out"),
  limit: z.coerce.number().int().min(1).max(pageItemsMax).default(pageItemsDefault).describe("Most items"),
  fresh: queryFlag.optional().describe('"true": as it is now, not as it was up to a minute ago'),
});

export const copiesViewSchema = z.object({
  at: z.int().describe("When the repository servers were asked, ms since 1970"),
  total: z.int().describe("Of all pages"),
  copies: z
    .array(
      z.object({
        kind: z.enum(["orphan", "aside"]),
        url: z.string(),
        repositoryId: z.string(),
        name: z.string().describe("As the copy itself has it"),
        reason: z.string(),
        since: z.int().describe("When it was moved aside, ms since 1970; -1 for an orphan"),
        size: z.int().describe("Bytes"),
      }),
    )
    .describe("Copies on disks that are no replicas, by name"),
  unreachable: z.array(z.string()).describe("Repository servers that did not say what they have"),
});
export type CopiesView = z.infer<typeof copiesViewSchema>;

export const dataLossViewSchema = z.object({
  name: z.string(),
  generation: z.int(),
  wanted: z.int().describe("Replicas"),
  complete: z.int().describe("Replicas with everything of the newest generation"),
  reachable: z.int().describe("Of these, on live repository servers"),
  nodes: z.array(z.object({ url: z.string(), status: replicaState, generation: z.int(), reason: z.string() })),
});

export const rebuildQuerySchema = z.object({
  node: z.string().max(2048).optional().describe("For _rebuild: id, HOST:PORT or URL of the repository server"),
});

export const healthViewSchema = z.object({ status: z.literal("ok"), name: z.string(), version: z.string() });
export const readyViewSchema = z.object({ ready: z.literal(true), store: z.string() });

/** RFC 9457; the members that every problem has. */
export const problemSchema = z.looseObject({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  code: z.string(),
  detail: z.string(),
  remedy: z.string(),
  requestId: z.string(),
});
