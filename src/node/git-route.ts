/** git's smart HTTP of a replica, read only, for controllers and for nodes that catch up. */
import { createGunzip } from "node:zlib";
import type { Readable } from "node:stream";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { GitmeshError } from "../base/errors.ts";
import { rawBody, rawBodyRoutes } from "../base/http.ts";
import { nodePaths, repositoryIdSchema } from "../protocol/node-api.ts";
import type { GitLimiter } from "./git-limiter.ts";
import type { UploadPack } from "./upload-pack.ts";

export interface GitRouteDependencies {
  readonly uploadPack: UploadPack;
  readonly limiter: GitLimiter;
}

const params = z.object({ id: repositoryIdSchema });
const query = z.object({ service: z.literal("git-upload-pack") });

export function gitRoutes(app: FastifyInstance, deps: GitRouteDependencies): void {
  void app.register(async (scope) => {
    rawBodyRoutes(scope);
    scope.get(
      `${nodePaths.git(":id")}/info/refs`,
      { schema: { params, querystring: query } },
      async (request, reply) => {
        const { id } = params.parse(request.params);
        const { signal } = abortOf(reply);
        const answer = await deps.limiter.run(id, signal, () =>
          deps.uploadPack.advertise(id, protocolOf(request), signal),
        );
        return uncached(reply).type("application/x-git-upload-pack-advertisement").send(answer);
      },
    );
    scope.post(`${nodePaths.git(":id")}/git-upload-pack`, { schema: { params } }, async (request, reply) => {
      await serve(deps, params.parse(request.params).id, request, reply);
      return reply;
    });
  });
}

/** Holds the repository's place among the git processes until the answer is sent. */
async function serve(
  deps: GitRouteDependencies,
  id: string,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const { signal, closed } = abortOf(reply);
  await deps.limiter.run(id, signal, async () => {
    const answer = await deps.uploadPack.serve(id, protocolOf(request), decoded(request), signal);
    void uncached(reply).type("application/x-git-upload-pack-result");
    answer.rest.unshift(answer.first);
    void answer.git.exit.then(({ code }) => {
      // What was sent so far is no whole answer: it must not look like one.
      if (code !== 0) answer.rest.destroy(new Error("git failed"));
    });
    void reply.send(answer.rest);
    await closed;
  });
}

function decoded(request: FastifyRequest): Readable {
  const encoding = request.headers["content-encoding"];
  if (encoding === undefined || encoding === "identity") return rawBody(request);
  if (encoding !== "gzip") throw new GitmeshError("unsupported-media-type", `content encoding ${encoding}`);
  const gunzip = createGunzip();
  const body = rawBody(request);
  body.on("error", (error) => gunzip.destroy(error));
  return body.pipe(gunzip);
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
