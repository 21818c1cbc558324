/** REST: /api/adoptions. What the store has lost and the replicas still have: listed, shown, taken over. */
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import type { ControllerSettings } from "../base/settings.ts";
import { refNameText } from "../protocol/ref-name.ts";
import {
  adoptionPlanViewSchema,
  adoptionQuerySchema,
  adoptionRequestSchema,
  adoptableViewSchema,
  apiPaths,
  repositoryViewSchema,
  type AdoptionPlanView,
} from "../protocol/public-api.ts";
import { repositoryNameFromUrlPath } from "../protocol/repository-name.ts";
import type { RefChange } from "../store/store.ts";
import type { Adoption } from "./adoption.ts";
import type { AdoptionPlan } from "./adoption-plan.ts";
import type { Membership } from "./membership.ts";
import { nameParameter, problems } from "./open-api-route.ts";
import { clientBaseUrl, repositoryView } from "./views.ts";

export interface AdoptionRouteDependencies {
  readonly adoption: Adoption;
  readonly membership: Membership;
  readonly settings: ControllerSettings;
}

const wildcard = `${apiPaths.adoptions}/*`;
/** Changes named in an answer; the counts are of all. */
const changesShownMax = 1000;

export async function adoptionRoutes(app: FastifyInstance, deps: AdoptionRouteDependencies): Promise<void> {
  const { adoption, membership, settings } = deps;
  const routes = app.withTypeProvider<ZodTypeProvider>();

  routes.get(
    apiPaths.adoptions,
    {
      schema: {
        summary: "List what the metadata store has lost and the replicas have",
        description: "Repositories whose replicas are ahead of the store, and those that only repository servers know.",
        tags: ["repositories"],
        response: { 200: z.array(adoptableViewSchema), ...problems(503) },
      },
    },
    async () => (await adoption.list()).map((item) => ({ ...item, nodes: [...item.nodes] })),
  );

  routes.get(
    wildcard,
    {
      schema: {
        summary: "Show what the adoption of a repository's refs from its replicas would do",
        tags: ["repositories"],
        params: nameParameter,
        querystring: adoptionQuerySchema,
        response: { 200: adoptionPlanViewSchema, ...problems(400, 404, 409, 503) },
      },
    },
    async (request) => planView(await adoption.plan(nameIn(request), request.query.from)),
  );

  routes.post(
    wildcard,
    {
      schema: {
        summary: "Adopt a repository's refs from its replicas",
        description: "Does exactly what was shown: `digest` is the shown plan's.",
        tags: ["repositories"],
        params: nameParameter,
        body: adoptionRequestSchema,
        response: { 200: repositoryViewSchema, ...problems(400, 404, 409, 415, 503) },
      },
    },
    async (request) => {
      const { from, digest } = request.body;
      const adopted = await adoption.adopt(nameIn(request), from, digest);
      const nodes = new Map(membership.nodes().map((node) => [node.id, node]));
      const baseUrl = clientBaseUrl(settings.advertiseUrl, request.headers.host, "http://localhost");
      return repositoryView(adopted, nodes, baseUrl);
    },
  );
}

function nameIn(request: FastifyRequest): string {
  const path = (request.raw.url ?? "").split("?", 1)[0] ?? "";
  return repositoryNameFromUrlPath(path.slice(apiPaths.adoptions.length + 1));
}

function planView(plan: AdoptionPlan): AdoptionPlanView {
  const { changes, copies, content: _content, ...rest } = plan;
  const count = (kind: "added" | "changed" | "removed"): number =>
    changes.filter((change) => kindOf(change) === kind).length;
  return {
    ...rest,
    added: count("added"),
    changed: count("changed"),
    removed: count("removed"),
    refs: changes.slice(0, changesShownMax).map((change) => ({
      name: refNameText(change.name),
      kind: kindOf(change),
      from: change.oldOid ?? null,
      to: change.newOid ?? null,
    })),
    copies: copies.map((copy) => ({ ...copy })),
  };
}

function kindOf({ oldOid, newOid }: RefChange): "added" | "changed" | "removed" {
  if (oldOid === undefined) return "added";
  return newOid === undefined ? "removed" : "changed";
}
