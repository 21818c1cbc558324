/** The public REST API, put together: documents, bodies, and a file of routes for each kind of thing. */
import type { FastifyInstance } from "fastify";
import { GitmeshError } from "../base/errors.ts";
import { adoptionRoutes, type AdoptionRouteDependencies } from "./adoption-route.ts";
import { nodeRoutes, type NodeRouteDependencies } from "./node-route.ts";
import { openApi } from "./open-api-route.ts";
import { repairRoutes, type RepairRouteDependencies } from "./repair-route.ts";
import { repositoryRoutes, type RepositoryRouteDependencies } from "./repository-route.ts";
import { statusRoutes, type StatusRouteDependencies } from "./status-route.ts";

export type RestDependencies = AdoptionRouteDependencies &
  RepairRouteDependencies &
  NodeRouteDependencies &
  RepositoryRouteDependencies &
  StatusRouteDependencies;

export async function restRoutes(app: FastifyInstance, deps: RestDependencies): Promise<void> {
  acceptBodies(app);
  await openApi(app, deps.version);
  await repositoryRoutes(app, deps);
  await adoptionRoutes(app, deps);
  await nodeRoutes(app, deps);
  await repairRoutes(app, deps);
  await statusRoutes(app, deps);
}

/**
 * JSON, or nothing: an empty body counts as none whatever its content type, as `curl -XPOST -d ''` calls its own a form.
 * A form with something in it is refused, also because a browser would send one from any page.
 */
function acceptBodies(app: FastifyInstance): void {
  const parseJson = app.getDefaultJsonParser("error", "error");
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("application/json", { parseAs: "string" }, (request, body, done) => {
    if (body.length === 0) done(null, undefined);
    else void parseJson(request, body.toString(), done);
  });
  app.addContentTypeParser("*", { parseAs: "string" }, (_request, body, done) => {
    if (body.length === 0) done(null, undefined);
    else done(new GitmeshError("unsupported-media-type", "send the body with Content-Type: application/json"));
  });
}
