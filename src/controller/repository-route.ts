/** REST: /api/repos. */
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { GitmeshError } from "../base/errors.ts";
import type { ControllerSettings } from "../base/settings.ts";
import {
  apiPaths,
  branchRefName,
  createRepositoryRequestSchema,
  listRepositoriesQuerySchema,
  pageItemsDefault,
  rebuildQuerySchema,
  repositoryViewSchema,
  updateRepositoryRequestSchema,
  type ListRepositoriesQuery,
  type RepositoryView,
} from "../protocol/public-api.ts";
import { parseRepositoryName, repositoryNameFromUrlPath } from "../protocol/repository-name.ts";
import type { RepositoryWithReplicas, Store } from "../store/store.ts";
import type { Membership } from "./membership.ts";
import { findNode } from "./node-lookup.ts";
import { nameParameter, problems } from "./open-api-route.ts";
import type { RepositoryChanges } from "./repository-changes.ts";
import type { RepositoryCreation } from "./repository-creation.ts";
import { clientBaseUrl, leavingKey, repositoryView } from "./views.ts";

export interface RepositoryRouteDependencies {
  readonly store: Store;
  readonly membership: Membership;
  readonly creation: RepositoryCreation;
  readonly changes: RepositoryChanges;
  readonly settings: ControllerSettings;
}

export const defaultBranchText = "master";
const action = /^(.*)\/(_delete|_verify|_rebuild)$/;
const wildcard = `${apiPaths.repositories}/*`;

export async function repositoryRoutes(app: FastifyInstance, deps: RepositoryRouteDependencies): Promise<void> {
  const { store, membership, creation, changes, settings } = deps;
  const routes = app.withTypeProvider<ZodTypeProvider>();

  const view = (
    found: RepositoryWithReplicas,
    request: FastifyRequest,
    leaving: ReadonlySet<string> = new Set(),
  ): RepositoryView => {
    const nodes = new Map(membership.nodes().map((node) => [node.id, node]));
    return repositoryView(found, nodes, baseUrl(request, settings), leaving);
  };
  const readLeaving = async (found: readonly RepositoryWithReplicas[]): Promise<ReadonlySet<string>> => {
    const leaving = await store.leavingOf(found.map(({ repository }) => repository.id));
    return new Set(leaving.map(({ repositoryId, nodeId }) => leavingKey(repositoryId, nodeId)));
  };
  const find = async (name: string): Promise<RepositoryWithReplicas> => {
    const found = await store.findRepository(name);
    if (found === undefined) throw new GitmeshError("repository-not-found", `there is no repository ${name}`);
    return found;
  };

  routes.get(
    apiPaths.repositories,
    {
      schema: {
        summary: "List repositories",
        tags: ["repositories"],
        querystring: listRepositoriesQuerySchema,
        response: { 200: z.array(repositoryViewSchema), ...problems(400, 503) },
      },
    },
    async (request, reply) => {
      const { query } = request;
      const { count, ...search } = query;
      const limit = query.limit ?? pageItemsDefault;
      const [[page, leaving], total] = await Promise.all([
        store
          .listRepositories({ ...search, limit })
          .then(async (found) => [found, await readLeaving(found.items)] as const),
        count === "true" ? store.countMatching(search) : undefined,
      ]);
      if (total !== undefined) reply.header("x-total-count", total);
      if (page.next !== undefined) reply.header("link", `<${nextPage(query, limit, page.next)}>; rel="next"`);
      return page.items.map((item) => view(item, request, leaving));
    },
  );

  routes.get(
    wildcard,
    {
      schema: {
        summary: "Show a repository",
        tags: ["repositories"],
        params: nameParameter,
        response: { 200: repositoryViewSchema, ...problems(400, 404, 503) },
      },
    },
    async (request) => {
      const found = await find(nameIn(request));
      return view(found, request, await readLeaving([found]));
    },
  );

  routes.post(
    wildcard,
    {
      schema: {
        summary: "Create a repository",
        description:
          "The body may be left out. POST to NAME/_delete deletes, for clients without DELETE; to NAME/_verify " +
          "has every replica verified; to NAME/_rebuild?node= has that one filled anew.",
        querystring: rebuildQuerySchema,
        tags: ["repositories"],
        params: nameParameter,
        body: createRepositoryRequestSchema.nullish(),
        response: {
          201: repositoryViewSchema,
          202: repositoryViewSchema.describe("It will be done"),
          204: z.undefined().describe("Deleted"),
          ...problems(400, 404, 409, 415, 503),
        },
      },
    },
    async (request, reply) => {
      const path = pathIn(request);
      const [, name = "", word] = action.exec(path) ?? [];
      if (word === "_delete") {
        await changes.delete((await find(nameOf(name))).repository);
        return reply.code(204).send();
      }
      if (word === "_verify") {
        return reply.code(202).send(view(await changes.askToVerify(await find(nameOf(name))), request));
      }
      if (word === "_rebuild") {
        const { node } = request.query;
        if (node === undefined) throw new GitmeshError("bad-request", "say which repository server's copy: ?node=");
        const { id } = await findNode(membership, node);
        return reply.code(202).send(view(await changes.rebuild(await find(nameOf(name)), id), request));
      }
      const body = request.body ?? {};
      const created = await creation.create({
        name: nameOf(path),
        objectFormat: body.objectFormat ?? "sha1",
        defaultBranch: branchRefName(body.defaultBranch ?? defaultBranchText),
        description: body.description ?? "",
        replicas: body.replicas ?? settings.replicas,
      });
      reply.header("location", apiPaths.repository(created.repository.name));
      return reply.code(201).send(view(created, request));
    },
  );

  routes.patch(
    wildcard,
    {
      schema: {
        summary: "Rename or change a repository",
        tags: ["repositories"],
        params: nameParameter,
        body: updateRepositoryRequestSchema,
        response: { 200: repositoryViewSchema, ...problems(400, 404, 409, 415, 503) },
      },
    },
    async (request) => {
      const found = await find(nameIn(request));
      const { name, replicas, defaultBranch, ...rest } = request.body;
      const updated = await changes.update(found, {
        ...rest,
        name: name === undefined ? undefined : parseRepositoryName(name),
        replicasWanted: replicas,
        defaultBranch: defaultBranch === undefined ? undefined : branchRefName(defaultBranch),
      });
      return view(updated, request);
    },
  );

  routes.delete(
    wildcard,
    {
      schema: {
        summary: "Delete a repository",
        tags: ["repositories"],
        params: nameParameter,
        response: { 204: z.undefined().describe("Deleted"), ...problems(400, 404, 503) },
      },
    },
    async (request, reply) => {
      await changes.delete((await find(nameIn(request))).repository);
      return reply.code(204).send();
    },
  );
}

/** What follows /api/repos/, as it came: decoding is for the name's parser, which knows what may be encoded. */
function pathIn(request: FastifyRequest): string {
  const path = (request.raw.url ?? "").split("?", 1)[0] ?? "";
  return path.slice(apiPaths.repositories.length + 1);
}

function nameIn(request: FastifyRequest): string {
  return nameOf(pathIn(request));
}

/** Unlike a clone URL's, a name here has no ".git". */
function nameOf(path: string): string {
  return /\.git$/i.test(path) ? parseRepositoryName(path) : repositoryNameFromUrlPath(path);
}

function baseUrl(request: FastifyRequest, settings: ControllerSettings): string {
  const { localAddress, localPort } = request.raw.socket;
  const address = localAddress?.includes(":") === true ? `[${localAddress}]` : (localAddress ?? "localhost");
  return clientBaseUrl(settings.advertiseUrl, request.headers.host, `http://${address}:${localPort ?? 80}`);
}

function nextPage(query: ListRepositoriesQuery, limit: number, cursor: string): string {
  const search = new URLSearchParams({ limit: String(limit), cursor });
  for (const key of ["contains", "state", "sort"] as const) {
    const value = query[key];
    if (value !== undefined) search.set(key, value);
  }
  return `${apiPaths.repositories}?${search.toString()}`;
}
