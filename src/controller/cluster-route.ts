/** What repository servers call, under the cluster secret: register and heartbeat (protocol/node-api.ts). */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import type { Clock } from "../base/clock.ts";
import { crashPoint } from "../base/crash-point.ts";
import { GitmeshError } from "../base/errors.ts";
import { requireClusterSecret } from "../base/http.ts";
import type { Logger } from "../base/log.ts";
import type { ControllerSettings } from "../base/settings.ts";
import {
  clusterPaths,
  heartbeatRequestSchema,
  heartbeatResponseSchema,
  registerRequestSchema,
  registerResponseSchema,
} from "../protocol/node-api.ts";
import type { Store } from "../store/store.ts";
import type { Membership } from "./membership.ts";
import type { Orphans } from "./orphans.ts";

export interface ClusterRouteDependencies {
  readonly store: Store;
  readonly membership: Membership;
  readonly orphans: Orphans;
  readonly settings: ControllerSettings;
  readonly clock: Clock;
  readonly log: Logger;
}

/** An inventory has about 70 bytes a replica: room for some 900,000. */
const registrationBytesMax = 64 * 1024 * 1024;
const idsInLogMax = 100;

/** A replica that was verified within this time is not verified again on suspicion: clients could ask for it all day. */
const suspectAgainMs = 600_000;

export async function clusterRoutes(app: FastifyInstance, deps: ClusterRouteDependencies): Promise<void> {
  const { store, membership, orphans, settings, clock, log } = deps;
  app.addHook("onRequest", requireClusterSecret(settings.secret));
  const routes = app.withTypeProvider<ZodTypeProvider>();

  routes.post(
    clusterPaths.register,
    {
      bodyLimit: registrationBytesMax,
      schema: { hide: true, body: registerRequestSchema, response: { 200: registerResponseSchema } },
    },
    async ({ body }) => {
      const url = body.url.replace(/\/+$/, "");
      const { nodeTimeoutMs } = settings;
      const outcome = await store.registerNode({ ...body, url, nowMs: clock.nowMs(), nodeTimeoutMs });
      if (outcome.kind === "conflict") {
        throw new GitmeshError(
          "node-conflict",
          outcome.otherId === body.id
            ? `the repository server ${body.id} is alive at another URL: is this directory a copy of its own?`
            : `a live repository server ${outcome.otherId} has the URL ${url}`,
        );
      }
      crashPoint("register.committed");
      await membership.refresh();
      membership.heard(body.id);
      orphans.found(body.id, outcome.orphanRepositoryIds);
      const { staleRepositoryIds, deletedRepositoryIds, orphanRepositoryIds, aheadRepositoryIds } = outcome;
      if (aheadRepositoryIds.length > 0) {
        const some = aheadRepositoryIds.slice(0, idsInLogMax);
        log.error(
          { nodeId: body.id, count: aheadRepositoryIds.length, repositoryIds: some },
          "replicas are ahead of the metadata store: see gitmesh repo adopt",
        );
      }
      log.info(
        {
          nodeId: body.id,
          url,
          replicas: body.inventory.length,
          stale: staleRepositoryIds.length,
          deleted: deletedRepositoryIds.length,
          orphans: orphanRepositoryIds.length,
        },
        "repository server registered",
      );
      return { deletedRepositoryIds: [...deletedRepositoryIds], orphanRepositoryIds: [...orphanRepositoryIds] };
    },
  );

  routes.post(
    clusterPaths.heartbeat,
    {
      bodyLimit: registrationBytesMax,
      schema: { hide: true, body: heartbeatRequestSchema, response: { 200: heartbeatResponseSchema } },
    },
    async ({ body }) => {
      const nowMs = clock.nowMs();
      // Before the store is asked, which may take long: one that can be read but not written must not make nodes look dead.
      membership.heard(body.id);
      const { suspects = [], ...heartbeat } = body;
      const verifiedBeforeMs = nowMs - suspectAgainMs;
      const known = await store.recordHeartbeat({
        ...heartbeat,
        nowMs,
        suspects: { repositoryIds: suspects, verifiedBeforeMs },
      });
      if (!known) return { register: true };
      return { register: false, heartbeatMs: nowMs };
    },
  );
}
