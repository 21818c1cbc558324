/** REST: what the repair does and has to do, and which repositories are near to a loss. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import type { Clock } from "../base/clock.ts";
import type { ControllerSettings } from "../base/settings.ts";
import {
  apiPaths,
  copiesViewSchema,
  dataLossViewSchema,
  listCopiesQuerySchema,
  repairViewSchema,
} from "../protocol/public-api.ts";
import type { Store } from "../store/store.ts";
import { Cached } from "./cached.ts";
import type { Copies } from "./copies.ts";
import type { Membership } from "./membership.ts";
import { problems } from "./open-api-route.ts";
import { dataLossRisks, repairStatus } from "./repair-status.ts";

export interface RepairRouteDependencies {
  readonly store: Store;
  readonly membership: Membership;
  readonly copies: Copies;
  readonly settings: ControllerSettings;
  readonly clock: Clock;
}

const verifiedKeepMs = 10_000;

export async function repairRoutes(app: FastifyInstance, deps: RepairRouteDependencies): Promise<void> {
  const { store, membership, copies, settings, clock } = deps;
  const routes = app.withTypeProvider<ZodTypeProvider>();
  // It looks at every complete replica.
  const verified = new Cached(
    async () => {
      const nowMs = clock.nowMs();
      return store.verificationProgress({ sinceMs: nowMs - settings.scrubIntervalMs, nowMs });
    },
    { keepMs: verifiedKeepMs, clock },
  );
  const urlOf = (nodeId: string): string => membership.get(nodeId)?.url ?? "";

  routes.get(
    apiPaths.repair,
    {
      schema: {
        summary: "What the background repair does and has to do",
        tags: ["cluster"],
        response: { 200: repairViewSchema, ...problems(503) },
      },
    },
    async () => {
      await membership.refresh();
      const nowMs = clock.nowMs();
      const { work, stuck } = await repairStatus(store, membership, settings);
      const progress = await verified.get();
      return {
        leader: (await store.leaseHolder("repair", nowMs))?.split(" ")[0] ?? null,
        work: work.map(({ nodeId, state, sinceMs, toNodeId, startedMs, ...rest }) => ({
          ...rest,
          nodeId,
          url: urlOf(nodeId),
          status: state ?? null,
          since: sinceMs,
          to: urlOf(toNodeId),
          startedAt: startedMs,
        })),
        stuck: [...stuck],
        scrub: {
          replicas: progress.ready,
          verified: progress.verified,
          oldest: Math.max(-1, progress.oldestMs),
          interval: settings.scrubIntervalMs,
        },
      };
    },
  );

  routes.get(
    apiPaths.copies,
    {
      schema: {
        summary: "Copies on the repository servers' disks that are no replicas",
        description: "Every server is asked; what they said is kept for a minute.",
        tags: ["cluster"],
        querystring: listCopiesQuerySchema,
        response: { 200: copiesViewSchema, ...problems(400, 503) },
      },
    },
    async (request) => {
      const { offset, limit, fresh } = request.query;
      const found = await copies.list({ fresh: fresh === "true" });
      const page = found.copies.slice(offset, offset + limit);
      return {
        at: found.atMs,
        total: found.copies.length,
        copies: page.map(({ kind, node, repositoryId, name, reason, movedMs, sizeBytes }) => {
          return { kind, url: node.url, repositoryId, name, reason, since: movedMs, size: sizeBytes };
        }),
        unreachable: found.unreachable.map(({ url }) => url),
      };
    },
  );

  routes.get(
    apiPaths.dataLoss,
    {
      schema: {
        summary: "Repositories with fewer complete copies of their newest generation than wanted, worst first",
        tags: ["cluster"],
        response: { 200: z.array(dataLossViewSchema), ...problems(503) },
      },
    },
    async () => {
      await membership.refresh();
      const risks = await dataLossRisks(store, membership);
      return risks.map(({ found: { repository, replicas }, complete, reachable }) => ({
        name: repository.name,
        generation: repository.generation,
        wanted: repository.replicasWanted,
        complete,
        reachable,
        nodes: replicas.map(({ nodeId, state, generation, reason }) => {
          return { url: urlOf(nodeId), status: state, generation, reason };
        }),
      }));
    },
  );
}
