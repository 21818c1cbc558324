/** The console's server: one page with the state of the cluster, for people. Asks any controller that answers. */
import { readFile } from "node:fs/promises";
import type { Clock } from "../base/clock.ts";
import { createHttpServer, listen } from "../base/http.ts";
import type { Logger } from "../base/log.ts";
import type { ConsoleSettings } from "../base/settings.ts";
import { version } from "../base/version.ts";
import { apiPaths } from "../protocol/public-api.ts";
import { ClusterStateReader } from "./cluster-state.ts";
import { renderPage } from "./page.ts";

const requestIdleMs = 60_000;
const bodyLimitBytes = 1024;
const securityHeaders = {
  "content-security-policy":
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "cross-origin-opener-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
} as const;

export interface RunningConsole {
  /** Where it listens. */
  readonly url: string;
  close(): Promise<void>;
}

/** Throws one sentence when the port is taken. */
export async function startConsole(
  settings: ConsoleSettings,
  { log, clock }: { log: Logger; clock: Clock },
): Promise<RunningConsole> {
  const style = await readFile(new URL("style.css", import.meta.url), "utf8");
  const states = new ClusterStateReader(settings.controllers);
  const app = createHttpServer({ log, requestIdleMs, bodyLimitBytes });
  app.addHook("onRequest", async (_request, reply) => {
    void reply.headers(securityHeaders);
  });
  app.get("/", async (_request, reply) => {
    const state = await states.read();
    return reply
      .code(state.kind === "unreachable" ? 503 : 200)
      .header("cache-control", "no-store")
      .type("text/html; charset=utf-8")
      .send(renderPage(state, clock.nowMs()));
  });
  app.get("/style.css", async (_request, reply) => reply.type("text/css; charset=utf-8").send(style));
  app.get(apiPaths.health, async () => ({ status: "ok", name: settings.name, version }));
  // The page is there for the very time when no controller answers.
  app.get(apiPaths.ready, async () => ({ ready: true }));
  const url = await listen(app, settings.listen);
  log.info({ url }, "console listens");
  return {
    url,
    async close() {
      await app.close();
      await states.close();
      log.info("console stopped");
    },
  };
}
