/** REST: draining a repository server, its replicas by page, its charts. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import type { Clock } from "../base/clock.ts";
import {
  metricsQuerySchema,
  nodeMetricsViewSchema,
  nodeReplicasQuerySchema,
  nodeReplicaViewSchema,
} from "../protocol/activity-api.ts";
import { apiPaths, nodeViewSchema } from "../protocol/public-api.ts";
import type { Store } from "../store/store.ts";
import type { Membership } from "./membership.ts";
import { nodeMetricsView, samplesFromMs, subjectsOf } from "./metrics-view.ts";
import { findNode } from "./node-lookup.ts";
import { idParameter, type ReplicaCounts } from "./node-route.ts";
import { problems } from "./open-api-route.ts";
import { nodeView } from "./views.ts";

export interface NodeActivityRouteDependencies {
  readonly store: Store;
  readonly membership: Membership;
  readonly replicaCounts: ReplicaCounts;
  readonly clock: Clock;
}

export async function nodeActivityRoutes(app: FastifyInstance, deps: NodeActivityRouteDependencies): Promise<void> {
  const { store, membership, replicaCounts, clock } = deps;
  const routes = app.withTypeProvider<ZodTypeProvider>();
  const pathOf = (end: string): string => `${apiPaths.nodes}/:id${end}`;

  for (const draining of [true, false]) {
    routes.post(
      pathOf(draining ? "/_drain" : "/_undrain"),
      {
        schema: {
          summary: draining ? "Have a repository server's replicas moved elsewhere" : "Let it have replicas again",
          description: draining
            ? "It gets no new ones; each leaves once the wanted number is READY on others. Pushes go on meanwhile."
            : "What has left stays elsewhere.",
          tags: ["nodes"],
          params: idParameter,
          response: { 200: nodeViewSchema, ...problems(404, 503) },
        },
      },
      async (request) => {
        const { id } = await findNode(membership, request.params.id);
        await store.setDraining(id, draining);
        const node = await findNode(membership, id);
        return nodeView(node, [], await replicaCounts.get());
      },
    );
  }

  routes.get(
    pathOf("/replicas"),
    {
      schema: {
        summary: "Replicas on a repository server, by name",
        tags: ["nodes"],
        params: idParameter,
        querystring: nodeReplicasQuerySchema,
        response: { 200: z.array(nodeReplicaViewSchema), ...problems(400, 404, 503) },
      },
    },
    async (request) => {
      const { id } = await findNode(membership, request.params.id);
      const { after, limit } = request.query;
      return (await store.listReplicasOfNode(id, limit, after)).map(({ name, replica }) => {
        const { state, generation, reason, sizeBytes, stateSinceMs } = replica;
        return { name, status: state, generation, reason, size: sizeBytes, since: stateSinceMs };
      });
    },
  );

  routes.get(
    pathOf("/metrics"),
    {
      schema: {
        summary: "Disk, load, pushes and fetches of a repository server over the last hour",
        tags: ["nodes"],
        params: idParameter,
        querystring: metricsQuerySchema,
        response: { 200: nodeMetricsViewSchema, ...problems(400, 404, 503) },
      },
    },
    async (request) => {
      const { id } = await findNode(membership, request.params.id);
      const nowMs = clock.nowMs();
      const { minutes } = request.query;
      return nodeMetricsView(
        await store.listSamples(samplesFromMs(nowMs, minutes), subjectsOf(id)),
        id,
        nowMs,
        minutes,
      );
    },
  );
}
