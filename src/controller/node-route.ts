/** REST: /api/nodes. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { GitmeshError } from "../base/errors.ts";
import { apiPaths, listNodesQuerySchema, nodeViewSchema, removeNodeQuerySchema } from "../protocol/public-api.ts";
import type { Store } from "../store/store.ts";
import type { Cached } from "./cached.ts";
import { findNode } from "./node-lookup.ts";
import type { Membership } from "./membership.ts";
import { problems } from "./open-api-route.ts";
import { nodeView } from "./views.ts";

export interface NodeRouteDependencies {
  readonly store: Store;
  readonly membership: Membership;
  readonly replicaCounts: ReplicaCounts;
}

/** All replicas are counted for them: asked for with every change by everybody who looks at the nodes. */
export type ReplicaCounts = Cached<Awaited<ReturnType<Store["countReplicas"]>>>;
/** How old these numbers may be. */
export const replicaCountsMs = 3000;

export const idParameter = z.object({
  id: z.string().max(2048).describe("Id, HOST:PORT or (encoded) URL of the repository server"),
});
const namesInAnswerMax = 5;

export async function nodeRoutes(app: FastifyInstance, deps: NodeRouteDependencies): Promise<void> {
  const { store, membership, replicaCounts } = deps;
  const routes = app.withTypeProvider<ZodTypeProvider>();

  routes.get(
    apiPaths.nodes,
    {
      schema: {
        summary: "List repository servers",
        tags: ["nodes"],
        querystring: listNodesQuerySchema,
        response: { 200: z.array(nodeViewSchema), ...problems(400, 503) },
      },
    },
    async (request) => {
      await membership.refresh();
      const nodes = membership.nodes().toSorted((one, other) => one.url.localeCompare(other.url));
      const withReplicas = request.query.repos !== "false";
      const counts = await replicaCounts.get();
      return Promise.all(
        nodes.map(async (node) => nodeView(node, withReplicas ? await store.listReplicasOfNode(node.id) : [], counts)),
      );
    },
  );

  routes.get(
    `${apiPaths.nodes}/:id`,
    {
      schema: {
        summary: "Show a repository server",
        tags: ["nodes"],
        params: idParameter,
        querystring: listNodesQuerySchema,
        response: { 200: nodeViewSchema, ...problems(400, 404, 503) },
      },
    },
    async (request) => {
      const node = await findNode(membership, request.params.id);
      const replicas = request.query.repos === "false" ? [] : await store.listReplicasOfNode(node.id);
      return nodeView(node, replicas, await replicaCounts.get());
    },
  );

  routes.delete(
    `${apiPaths.nodes}/:id`,
    {
      schema: {
        summary: "Forget a dead repository server",
        description:
          "Only a dead one, and only when every repository has its wanted READY replicas elsewhere, or by force.",
        tags: ["nodes"],
        params: idParameter,
        querystring: removeNodeQuerySchema,
        response: { 204: z.undefined().describe("Removed"), ...problems(400, 404, 409, 503) },
      },
    },
    async (request, reply) => {
      const node = await findNode(membership, request.params.id);
      if (node.alive) throw new GitmeshError("node-in-use", `${node.url} is alive: stop it first`);
      const needing = await store.removeNode(node.id, { force: request.query.force === "true" });
      if (needing.length > 0) {
        const some = needing.slice(0, namesInAnswerMax).join(", ");
        const more = needing.length > namesInAnswerMax ? ` and ${needing.length - namesInAnswerMax} more` : "";
        throw new GitmeshError("node-in-use", `too few complete replicas elsewhere of ${some}${more}`, {
          fields: { repositories: needing.slice(0, 1000) },
        });
      }
      await membership.refresh();
      return reply.code(204).send();
    },
  );
}
