/** The node's API for controllers (protocol/node-api.ts): replicas, applying, staging, catching up. */
import type { Readable } from "node:stream";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import type { Clock } from "../base/clock.ts";
import { GitmeshError } from "../base/errors.ts";
import { rawBody, rawBodyRoutes } from "../base/http.ts";
import {
  applyRequestSchema,
  catchUpHeaderSchema,
  commitsRequestSchema,
  fetchTipsRequestSchema,
  nodePaths,
  purgeRequestSchema,
  refUpdateSchema,
  replicaDescriptionSchema,
  repositoryIdSchema,
  retireRequestSchema,
  stageHeaderSchema,
  verifyRequestSchema,
} from "../protocol/node-api.ts";
import type { ObjectId, RefName } from "../protocol/ref-name.ts";
import type { Applier } from "./apply.ts";
import type { CatchUp } from "./catch-up.ts";
import type { Commits } from "./commits.ts";
import type { Inspection } from "./inspection.ts";
import { JsonLineReader } from "./json-lines.ts";
import { progressAnswer } from "./progress-answer.ts";
import type { Repositories } from "./repositories.ts";
import type { Stager } from "./stage.ts";
import type { Verifier } from "./verify.ts";

export interface ReplicaRouteDependencies {
  readonly repositories: Repositories;
  readonly stager: Stager;
  readonly applier: Applier;
  readonly catchUp: CatchUp;
  readonly commits: Commits;
  readonly verifier: Verifier;
  readonly inspection: Inspection;
  readonly clock: Clock;
}

/** The largest push (receive-pack-request.ts) after as much of the ref log as is read at once, each byte escaped. */
const applyBodyBytesMax = 160 * 1024 * 1024;
const params = z.object({ id: repositoryIdSchema });

export function replicaRoutes(app: FastifyInstance, deps: ReplicaRouteDependencies): void {
  const { repositories, applier } = deps;
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.post(nodePaths.replicas, { schema: { body: replicaDescriptionSchema } }, async (request, reply) => {
    await repositories.create(request.body, 0);
    return reply.code(201).send({});
  });
  routes.get(nodePaths.replicas, async () => ({ replicas: await repositories.list() }));
  routes.get(nodePaths.replica(":id"), { schema: { params } }, async (request) => {
    const { id } = request.params;
    // Before the rest: what is used meanwhile is not as it is told.
    const uses = repositories.uses(id);
    const { generation } = await repositories.record(id);
    return { id, generation, sizeBytes: await repositories.sizeBytes(id), uses };
  });
  routes.patch(
    nodePaths.replica(":id"),
    { schema: { params, body: replicaDescriptionSchema } },
    async (request, reply) => {
      const description = { ...request.body, id: request.params.id };
      await applier.exclusive(description.id, () => repositories.update(description));
      return reply.code(204).send();
    },
  );
  routes.post(nodePaths.retire(":id"), { schema: { params, body: retireRequestSchema } }, async (request, reply) => {
    const { id } = request.params;
    await applier.exclusive(id, () => repositories.retire(id, request.body));
    return reply.code(204).send();
  });
  routes.post(
    nodePaths.apply(":id"),
    { schema: { params, body: applyRequestSchema }, bodyLimit: applyBodyBytesMax },
    async (request) => ({ generation: await applier.apply(request.params.id, request.body) }),
  );
  routes.post(nodePaths.commits(":id"), { schema: { params, body: commitsRequestSchema } }, async (request, reply) => {
    const signal = abortedWith(request, reply);
    return { commits: await deps.commits.read(request.params.id, request.body.oids, signal) };
  });
  routes.post(
    nodePaths.verify(":id"),
    { schema: { params, body: verifyRequestSchema } },
    async (request, reply): Promise<Readable> => {
      const { id } = request.params;
      await repositories.open(id);
      const signal = abortedWith(request, reply);
      return begin(deps, request, reply, signal, () => deps.verifier.verify(id, request.body, signal));
    },
  );
  routes.get(
    nodePaths.stagedIndex(":id", ":pushId"),
    { schema: { params: params.extend({ pushId: z.string() }) } },
    async (request, reply): Promise<Readable> => {
      void reply.type("application/octet-stream");
      return deps.stager.leadIndexes.answer(request.params.id, request.params.pushId);
    },
  );
  routes.get(nodePaths.copies, async () => ({
    replicas: await repositories.inventory(),
    aside: await repositories.listAside(),
  }));
  routes.post(nodePaths.purge, { schema: { body: purgeRequestSchema } }, async (request, reply) => {
    await repositories.purge(request.body.entry);
    return reply.code(204).send();
  });
  void app.register(async (scope) => {
    rawBodyRoutes(scope);
    scope.post(nodePaths.stage(":id"), async (request, reply) => stage(deps, request, reply));
    scope.post(nodePaths.fetchTips(":id"), async (request, reply) => fetchTips(deps, request, reply));
    scope.post(nodePaths.inspect(":id"), async (request, reply) => inspect(deps, request, reply));
    scope.post(nodePaths.catchUp(":id"), async (request, reply) => catchUp(deps, request, reply));
  });
}

async function stage(deps: ReplicaRouteDependencies, request: FastifyRequest, reply: FastifyReply): Promise<Readable> {
  const { id } = idOf(request);
  await deps.repositories.open(id);
  const signal = abortedWith(request, reply);
  const body = new JsonLineReader(rawBody(request));
  const header = parse(stageHeaderSchema, await body.next());
  return begin(deps, request, reply, signal, async (onProgress) => {
    const result = await deps.stager.stage(id, header, body.rest(), signal, onProgress);
    // Of a bad pack the rest may still be on its way: who sends it is to read the answer, not to find it cut off.
    body.drain().catch(() => {});
    return result;
  });
}

async function fetchTips(
  deps: ReplicaRouteDependencies,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<Readable> {
  const { id } = idOf(request);
  await deps.repositories.open(id);
  const signal = abortedWith(request, reply);
  const wanted = parse(fetchTipsRequestSchema, await new JsonLineReader(rawBody(request)).next());
  return begin(deps, request, reply, signal, () => deps.catchUp.fetchTips(id, wanted, signal));
}

async function inspect(
  deps: ReplicaRouteDependencies,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<Readable> {
  const { id } = idOf(request);
  await deps.repositories.open(id);
  const signal = abortedWith(request, reply);
  return begin(deps, request, reply, signal, () => deps.inspection.inspect(id, signal));
}

async function catchUp(
  deps: ReplicaRouteDependencies,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<Readable> {
  const { id } = idOf(request);
  const signal = abortedWith(request, reply);
  const body = new JsonLineReader(rawBody(request));
  const header = parse(catchUpHeaderSchema, await body.next());
  if (header.replica.id !== id) throw new GitmeshError("bad-request", "the header is about another replica");
  return begin(deps, request, reply, signal, async (onProgress) => {
    const refs = new Map<RefName, ObjectId>();
    for (let line = await body.next(); line !== undefined; line = await body.next()) {
      const [name, oid] = parse(refUpdateSchema, line);
      if (oid !== null) refs.set(name, oid);
    }
    return deps.catchUp.run(header, refs, signal, onProgress);
  });
}

/** Begins the long answer; from here on only a result or the answer's end tells how it went. */
function begin<R>(
  { clock }: ReplicaRouteDependencies,
  request: FastifyRequest,
  reply: FastifyReply,
  signal: AbortSignal,
  work: (onProgress: (text: string) => void) => Promise<R>,
): Readable {
  void reply.type("application/x-ndjson");
  return progressAnswer(clock, work, (error) => {
    if (!signal.aborted) request.log.warn({ err: error, requestId: request.id, url: request.url }, "broken off");
  });
}

function idOf(request: FastifyRequest): { readonly id: string } {
  const parsed = params.safeParse(request.params);
  if (parsed.success) return parsed.data;
  throw new GitmeshError("bad-request", "not a repository id");
}

/** Aborts when the caller goes away before the answer is complete. */
function abortedWith(request: FastifyRequest, reply: FastifyReply): AbortSignal {
  const abort = new AbortController();
  const gone = (): void => {
    if (!reply.raw.writableFinished) abort.abort(new Error("the caller went away"));
  };
  reply.raw.once("close", gone);
  request.raw.once("error", gone);
  return abort.signal;
}

function parse<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new GitmeshError("bad-request", parsed.error.message);
}
