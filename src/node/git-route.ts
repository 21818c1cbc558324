/** git's smart HTTP of a replica, read only, for controllers and for nodes that catch up (gitprotocol-http). */
import { createGunzip } from "node:zlib";
import { pipeline, type Readable } from "node:stream";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { GitmeshError } from "../base/errors.ts";
import type { FairLimiter } from "../base/fair-limiter.ts";
import { rawBody, rawBodyRoutes } from "../base/http.ts";
import { nodePaths, refsGenerationHeader, repositoryIdSchema } from "../protocol/node-api.ts";
import type { UploadPack } from "./upload-pack.ts";

export interface GitRouteDependencies {
  readonly uploadPack: UploadPack;
  readonly limiter: FairLimiter;
}

const params = z.object({ id: repositoryIdSchema });
const querystring = z.object({ service: z.literal("git-upload-pack") });

export function gitRoutes(app: FastifyInstance, deps: GitRouteDependencies): void {
  void app.register(async (scope) => {
    rawBodyRoutes(scope);
    const routes = scope.withTypeProvider<ZodTypeProvider>();
    const path = nodePaths.git(":id");
    routes.get(`${path}/info/refs`, { schema: { params, querystring } }, async (request, reply) => {
      const { id } = request.params;
      const { signal } = abortOf(reply);
      const advertise = (): Promise<Buffer> => deps.uploadPack.advertise(id, protocolOf(request), signal);
      const answer = await deps.limiter.run(id, signal, advertise);
      return uncached(reply).type("application/x-git-upload-pack-advertisement").send(answer);
    });
    routes.post(`${path}/git-upload-pack`, { schema: { params } }, async (request, reply) => {
      await serve(deps, request.params.id, request, reply);
      return reply;
    });
  });
}

/** Holds the repository's place among the git processes until the answer is sent. */
async function serve(
  { limiter, uploadPack }: GitRouteDependencies,
  id: string,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const { signal, closed } = abortOf(reply);
  await limiter.run(id, signal, async () => {
    // Before git looks at them.
    const generation = await uploadPack.generation(id);
    const answer = await uploadPack.serve(id, protocolOf(request), decoded(request), signal);
    void uncached(reply).type("application/x-git-upload-pack-result").header(refsGenerationHeader, generation);
    void reply.send(answer);
    await closed;
  });
}

/** git compresses what it asks for when that is long. */
function decoded(request: FastifyRequest): Readable {
  const encoding = request.headers["content-encoding"];
  if (encoding === undefined || encoding === "identity") return rawBody(request);
  if (encoding !== "gzip" && encoding !== "x-gzip") {
    throw new GitmeshError("unsupported-media-type", `content encoding ${encoding}`);
  }
  // An error shows where the result is read; before and after that, it must not end the server.
  return pipeline(rawBody(request), createGunzip(), () => {}).on("error", () => {});
}

function protocolOf(request: FastifyRequest): string | undefined {
  const header = request.headers["git-protocol"];
  return typeof header === "string" ? header : undefined;
}

function uncached(reply: FastifyReply): FastifyReply {
  return reply
    .header("cache-control", "no-cache, max-age=0, must-revalidate")
    .header("expires", "Fri, 01 Jan 1980 00:00:00 GMT");
}

function abortOf(reply: FastifyReply): { readonly signal: AbortSignal; readonly closed: Promise<void> } {
  const abort = new AbortController();
  const closed = new Promise<void>((resolve) => {
    reply.raw.once("close", () => {
      if (!reply.raw.writableFinished) abort.abort(new Error("the caller went away"));
      resolve();
    });
  });
  return { signal: abort.signal, closed };
}
