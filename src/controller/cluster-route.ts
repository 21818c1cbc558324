/** What repository servers call, under the cluster secret: register and heartbeat (protocol/node-api.ts). */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { requireClusterSecret } from "../base/http.ts";
import type { ControllerSettings } from "../base/settings.ts";
import {
  clusterPaths,
  heartbeatRequestSchema,
  heartbeatResponseSchema,
  registerRequestSchema,
  registerResponseSchema,
} from "../protocol/node-api.ts";
import type { NodeReports } from "./node-reports.ts";

export interface ClusterRouteDependencies {
  readonly reports: NodeReports;
  readonly settings: ControllerSettings;
}

/** An inventory has about 70 bytes a replica: room for some 900,000. */
const registrationBytesMax = 64 * 1024 * 1024;

export async function clusterRoutes(app: FastifyInstance, deps: ClusterRouteDependencies): Promise<void> {
  const { reports, settings } = deps;
  app.addHook("onRequest", requireClusterSecret(settings.secret));
  const routes = app.withTypeProvider<ZodTypeProvider>();

  routes.post(
    clusterPaths.register,
    {
      bodyLimit: registrationBytesMax,
      schema: { hide: true, body: registerRequestSchema, response: { 200: registerResponseSchema } },
    },
    ({ body }) => reports.register(body),
  );

  routes.post(
    clusterPaths.heartbeat,
    {
      bodyLimit: registrationBytesMax,
      schema: { hide: true, body: heartbeatRequestSchema, response: { 200: heartbeatResponseSchema } },
    },
    ({ body }) => reports.heartbeat(body),
  );
}
