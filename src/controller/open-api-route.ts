/** The OpenAPI 3.1 document, generated from the routes' schemas and served at /api/openapi.json. */
import swagger from "@fastify/swagger";
import type { FastifyInstance } from "fastify";
import { jsonSchemaTransform, jsonSchemaTransformObject } from "fastify-type-provider-zod";
import { z } from "zod";
import { apiPaths, problemSchema } from "../protocol/public-api.ts";

/** Of wildcard routes: the document calls the parameter {name}. */
export const nameParameter = z.object({
  "*": z.string().describe("Name of the repository, which may have slashes"),
});

const meanings: Readonly<Record<number, string>> = {
  400: "The request is malformed; lists every mistake",
  404: "There is no such thing",
  409: "It exists, or is in use",
  415: "The body is not application/json",
  503: "The cluster cannot do it now; Retry-After says when to try again",
};

/** Error answers of a route. */
export function problems(...statuses: number[]): Record<number, z.ZodType> {
  return Object.fromEntries(statuses.map((status) => [status, problemSchema.describe(meanings[status] ?? "Error")]));
}

/** To be called before any route is added. */
export async function openApi(app: FastifyInstance, version: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: {
        title: "gitmesh",
        version,
        description: "A distributed git server cluster. Errors are RFC 9457 problem documents.",
      },
      tags: [{ name: "repositories" }, { name: "nodes" }, { name: "cluster" }],
    },
    transform: (route) => {
      const { schema, url } = jsonSchemaTransform(route);
      return { schema: renameWildcard(schema), url: url.replace("*", ":name") };
    },
    transformObject: (document) => withDeleteAction(describeProblems(jsonSchemaTransformObject(document))),
  });
  app.get(apiPaths.openApi, { schema: { hide: true } }, () => app.swagger());
}

type Schema = ReturnType<typeof jsonSchemaTransform>["schema"];

function renameWildcard(schema: Schema): Schema {
  const params = schema.params as { properties?: Record<string, unknown> } | undefined;
  const wildcard = params?.properties?.["*"];
  if (wildcard === undefined) return schema;
  return { ...schema, params: { type: "object", properties: { name: wildcard }, required: ["name"] } };
}

type Document = ReturnType<typeof jsonSchemaTransformObject>;

/** `POST NAME/_delete` is what DELETE is, for clients that have no DELETE; a route of its own cannot follow a wildcard. */
function withDeleteAction(document: Document): Document {
  const paths = "paths" in document ? document.paths : undefined;
  const repository = paths?.["/api/repos/{name}"];
  if (paths !== undefined && repository !== undefined && "delete" in repository && repository.delete !== undefined) {
    paths["/api/repos/{name}/_delete"] = { post: repository.delete } as (typeof paths)[string];
  }
  return document;
}

/** Errors go out as application/problem+json; the generator takes every answer for application/json. */
function describeProblems(document: Document): Document {
  const paths = ("paths" in document ? document.paths : undefined) ?? {};
  for (const path of Object.values(paths)) {
    for (const operation of Object.values(path ?? {})) {
      const responses =
        (operation as { responses?: Record<string, { content?: Record<string, unknown> }> }).responses ?? {};
      for (const [status, response] of Object.entries(responses)) {
        const json = response.content?.["application/json"];
        if (Number(status) >= 400 && json !== undefined) response.content = { "application/problem+json": json };
      }
    }
  }
  return document;
}
