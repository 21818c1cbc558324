/** /api/cluster, /healthz and /readyz. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { GitmeshError } from "../base/errors.ts";
import {
  apiPaths,
  clusterViewSchema,
  healthViewSchema,
  readyViewSchema,
  type ClusterView,
} from "../protocol/public-api.ts";
import type { ControllerSettings } from "../base/settings.ts";
import type { Store } from "../store/store.ts";
import type { LeaseKeeper } from "./lease.ts";
import type { Membership } from "./membership.ts";
import { problems } from "./open-api-route.ts";
import type { Repair } from "./repair.ts";
import { defaultBranchText } from "./repository-route.ts";

export interface StatusRouteDependencies {
  readonly store: Store;
  readonly membership: Membership;
  readonly lease: LeaseKeeper;
  readonly repair: Repair;
  readonly settings: ControllerSettings;
  /** Of this controller. */
  readonly name: string;
  readonly version: string;
}

export async function statusRoutes(app: FastifyInstance, deps: StatusRouteDependencies): Promise<void> {
  const { store, membership, lease, repair, settings, name, version } = deps;
  const routes = app.withTypeProvider<ZodTypeProvider>();

  routes.get(
    apiPaths.cluster,
    { schema: { summary: "State of the cluster", tags: ["cluster"], response: { 200: clusterViewSchema } } },
    async (): Promise<ClusterView> => {
      const repositories = await unlessUnavailable(store.countRepositories());
      const nodes = membership.nodes();
      const dead = nodes.filter((node) => !node.alive).length;
      const suspect = nodes.filter((node) => node.alive && node.suspect).length;
      return {
        version,
        controller: name,
        store: { engine: store.engine, ok: repositories !== undefined },
        nodes: { total: nodes.length, alive: nodes.length - dead - suspect, suspect, dead },
        repositories: repositories ?? null,
        defaults: {
          replicas: settings.replicas,
          defaultBranch: defaultBranchText,
          diskUsageMax: settings.diskUsageMax,
          repairGraceMs: settings.repairGraceMs,
        },
        repair: { leader: lease.isHolder, running: [...repair.running()] },
      };
    },
  );

  routes.get(
    apiPaths.health,
    { schema: { summary: "The process answers", tags: ["cluster"], response: { 200: healthViewSchema } } },
    () => ({ status: "ok" as const, name, version }),
  );

  routes.get(
    apiPaths.ready,
    {
      schema: {
        summary: "The controller can serve: the store answers",
        description:
          "Whether a single repository can be read or written is a question of its replicas: see /api/cluster.",
        tags: ["cluster"],
        response: { 200: readyViewSchema, ...problems(503) },
      },
    },
    async () => {
      await store.ping();
      return { ready: true as const, store: store.engine };
    },
  );
}

async function unlessUnavailable<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof GitmeshError && error.code === "store-unavailable") return undefined;
    throw error;
  }
}
