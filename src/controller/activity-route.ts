/** REST: a repository's refs with their commits, its last pushes, moves of its replicas; work; charts. */
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import type { Clock } from "../base/clock.ts";
import { GitmeshError } from "../base/errors.ts";
import type { ControllerSettings } from "../base/settings.ts";
import {
  activityPaths,
  cancelMoveQuerySchema,
  listPushesQuerySchema,
  listRefsQuerySchema,
  metricsQuerySchema,
  metricsViewSchema,
  moveRequestSchema,
  pushViewSchema,
  refsViewSchema,
  workViewSchema,
} from "../protocol/activity-api.ts";
import { refNameFromText } from "../protocol/ref-name.ts";
import { repositoryNameFromUrlPath } from "../protocol/repository-name.ts";
import type { RepositoryWithReplicas, Store } from "../store/store.ts";
import { pushView, workItemsMax, workView } from "./activity-views.ts";
import type { Membership } from "./membership.ts";
import { clusterSubjects, metricsView, samplesFromMs } from "./metrics-view.ts";
import type { NodeClient } from "./node-client.ts";
import { findNode } from "./node-lookup.ts";
import { nameParameter, problems } from "./open-api-route.ts";
import { decodeRefCursor, refsPage } from "./refs-page.ts";
import { planMove } from "./replica-move.ts";

export interface ActivityRouteDependencies {
  readonly store: Store;
  readonly membership: Membership;
  readonly nodeClient: NodeClient;
  readonly settings: ControllerSettings;
  readonly clock: Clock;
}

export async function activityRoutes(app: FastifyInstance, deps: ActivityRouteDependencies): Promise<void> {
  const { store, membership, clock } = deps;
  const routes = app.withTypeProvider<ZodTypeProvider>();
  const find = async (request: FastifyRequest, prefix: string): Promise<RepositoryWithReplicas> => {
    const path = (request.raw.url ?? "").split("?", 1)[0] ?? "";
    const name = repositoryNameFromUrlPath(path.slice(prefix.length));
    const found = await store.findRepository(name);
    if (found === undefined) throw new GitmeshError("repository-not-found", `there is no repository ${name}`);
    return found;
  };

  routes.get(
    activityPaths.refs("*"),
    {
      schema: {
        summary: "Branches or tags of a repository, with their commits",
        tags: ["repositories"],
        params: nameParameter,
        querystring: listRefsQuerySchema,
        response: { 200: refsViewSchema, ...problems(400, 404, 503) },
      },
    },
    async (request) => {
      const { kind, contains, cursor, limit } = request.query;
      const found = await find(request, activityPaths.refs(""));
      return refsPage(deps, found, {
        prefix: kind === "branches" ? "refs/heads/" : "refs/tags/",
        contains: contains === undefined ? "" : refNameFromText(contains),
        after: cursor === undefined ? undefined : decodeRefCursor(cursor),
        limit,
      });
    },
  );

  routes.get(
    activityPaths.pushes("*"),
    {
      schema: {
        summary: "The last pushes to a repository",
        tags: ["repositories"],
        params: nameParameter,
        querystring: listPushesQuerySchema,
        response: { 200: z.array(pushViewSchema), ...problems(400, 404, 503) },
      },
    },
    async (request) => {
      const { repository } = await find(request, activityPaths.pushes(""));
      const pushes = await store.listPushes(repository.id, request.query.limit);
      return pushes.map((push) => pushView(push, membership));
    },
  );

  routes.post(
    activityPaths.moves("*"),
    {
      schema: {
        summary: "Move a replica to another repository server",
        description: "It leaves once the wanted number of the others is READY.",
        tags: ["repositories"],
        params: nameParameter,
        body: moveRequestSchema,
        response: { 202: z.object({}).describe("It is under way"), ...problems(400, 404, 409, 415, 503) },
      },
    },
    async (request, reply) => {
      const found = await find(request, activityPaths.moves(""));
      await membership.refresh();
      const { fromId, toId } = planMove(found, membership.nodes(), request.body, deps.settings);
      if (!(await store.moveReplica(found.repository.id, fromId, toId, clock.nowMs()))) {
        throw new GitmeshError("move-refused", "its replicas changed meanwhile");
      }
      return reply.code(202).send({});
    },
  );

  routes.delete(
    activityPaths.moves("*"),
    {
      schema: {
        summary: "Cancel a replica's move",
        description: "It stays; what was added for it elsewhere goes again.",
        tags: ["repositories"],
        params: nameParameter,
        querystring: cancelMoveQuerySchema,
        response: { 204: z.undefined().describe("Cancelled"), ...problems(400, 404, 409, 503) },
      },
    },
    async (request, reply) => {
      const { repository } = await find(request, activityPaths.moves(""));
      const { id, url } = await findNode(membership, request.query.from);
      if (!(await store.cancelMove(repository.id, id))) {
        throw new GitmeshError("move-refused", `the replica of ${repository.name} on ${url} does not move`);
      }
      return reply.code(204).send();
    },
  );

  routes.get(
    activityPaths.work,
    {
      schema: {
        summary: "Steps of the background repair, under way or failed",
        tags: ["cluster"],
        response: { 200: z.array(workViewSchema), ...problems(503) },
      },
    },
    async () => (await store.listWork(workItemsMax)).map((work) => workView(work, membership)),
  );

  routes.get(
    activityPaths.metrics,
    {
      schema: {
        summary: "Pushes, clones, bytes and push times of the last hour, of all controllers together",
        tags: ["cluster"],
        querystring: metricsQuerySchema,
        response: { 200: metricsViewSchema, ...problems(400, 503) },
      },
    },
    async (request) => {
      const nowMs = clock.nowMs();
      const { minutes } = request.query;
      return metricsView(await store.listSamples(samplesFromMs(nowMs, minutes), clusterSubjects), nowMs, minutes);
    },
  );
}
