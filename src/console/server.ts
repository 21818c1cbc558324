/** The console's server: one page with the state of the cluster, for people. Asks any controller that answers. */
import { readFile } from "node:fs/promises";
import { request } from "undici";
import { z } from "zod";
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import { createHttpServer, listen } from "../base/http.ts";
import type { Logger } from "../base/log.ts";
import type { ConsoleSettings } from "../base/settings.ts";
import { version } from "../base/version.ts";
import { apiPaths, clusterViewSchema, nodeViewSchema, repositoryViewSchema } from "../protocol/public-api.ts";
import { renderPage, type ClusterState } from "./page.ts";

const callMs = 3000;
const repositoriesShown = 100;
const requestIdleMs = 60_000;
const securityHeaders = {
  "content-security-policy":
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
} as const;

export async function startConsole(
  settings: ConsoleSettings,
  { log, clock }: { log: Logger; clock: Clock },
): Promise<{ url: string; close(): Promise<void> }> {
  const style = await readFile(new URL("style.css", import.meta.url), "utf8");
  const app = createHttpServer({ log, requestIdleMs, bodyLimitBytes: 1024 });
  app.addHook("onRequest", async (_request, reply) => {
    void reply.headers(securityHeaders);
  });
  app.get("/", async (_request, reply) => {
    const state = await readState(settings.controllers);
    return reply
      .code(state.kind === "unreachable" ? 503 : 200)
      .header("cache-control", "no-store")
      .type("text/html; charset=utf-8")
      .send(renderPage(state, clock.nowMs()));
  });
  app.get("/style.css", async (_request, reply) => reply.type("text/css; charset=utf-8").send(style));
  app.get("/healthz", async () => ({ status: "ok", name: settings.name, version }));
  // The page is there for the very time when no controller answers.
  app.get("/readyz", async () => ({ ready: true }));
  const url = await listen(app, settings.listen);
  log.info({ url }, "console listens");
  return { url, close: () => app.close() };
}

/** The state as the first controller that answers tells it. */
async function readState(controllers: readonly string[]): Promise<ClusterState> {
  const failures: string[] = [];
  for (const url of controllers) {
    try {
      const [cluster, nodes, repositories] = await Promise.all([
        get(url, apiPaths.cluster, clusterViewSchema),
        get(url, apiPaths.nodes, z.array(nodeViewSchema)),
        get(url, `${apiPaths.repositories}?limit=${repositoriesShown}`, z.array(repositoryViewSchema)),
      ]);
      return { kind: "reached", url, cluster, nodes, repositories };
    } catch (error) {
      failures.push(`${url}: ${messageOf(error) || "no connection"}`);
    }
  }
  return { kind: "unreachable", failures };
}

async function get<T>(url: string, path: string, schema: z.ZodType<T>): Promise<T> {
  const answer = await request(`${url}${path}`, { headersTimeout: callMs, bodyTimeout: callMs });
  if (answer.statusCode !== 200) {
    await answer.body.dump();
    throw new Error(`status ${answer.statusCode}`);
  }
  return schema.parse(await answer.body.json());
}
