/**
 * The console's server: the built application, and the controllers' API under the same address, so that a browser needs
 * no other.
 */
import { isIP } from "node:net";
import { hostname } from "node:os";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Clock } from "../base/clock.ts";
import { GitmeshError } from "../base/errors.ts";
import { createHttpServer, listen } from "../base/http.ts";
import type { Logger } from "../base/log.ts";
import type { ConsoleSettings } from "../base/settings.ts";
import { version } from "../base/version.ts";
import { activityPaths } from "../protocol/activity-api.ts";
import { apiPaths } from "../protocol/public-api.ts";
import { chooseBody, loadAssets, pageFor, type Asset } from "./assets.ts";
import { Controllers, headersToPass, type Call } from "./controllers.ts";
import { relayEvents } from "./event-relay.ts";

const requestIdleMs = 60_000;
/** For load balancers, by whatever name. */
const withAnyHost: ReadonlySet<string> = new Set([apiPaths.health, apiPaths.ready]);
/** The controllers have a limit of their own. */
const bodyLimitBytes = 1024 * 1024;
const securityHeaders = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "cross-origin-opener-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
} as const;
const answeredHeaders = [
  "content-type",
  "link",
  "location",
  "retry-after",
  "set-cookie",
  "www-authenticate",
  "x-request-id",
  "x-total-count",
] as const;

export interface RunningConsole {
  /** Where it listens. */
  readonly url: string;
  close(): Promise<void>;
}

/** Throws one sentence when the port is taken or the application cannot be built. */
export async function startConsole(
  settings: ConsoleSettings,
  { log, clock }: { log: Logger; clock: Clock },
): Promise<RunningConsole> {
  const assets = await loadAssets();
  const controllers = new Controllers(settings.controllers, log);
  const app = createHttpServer({ log, requestIdleMs, bodyLimitBytes });
  app.addHook("onRequest", async (request, reply) => {
    void reply.headers(securityHeaders);
    refuseOtherHosts(request, ownNames(settings));
    refuseOtherSites(request);
  });
  app.get(apiPaths.health, async () => ({ status: "ok", name: settings.name, version }));
  // The page is there for the very time when no controller answers.
  app.get(apiPaths.ready, async () => ({ ready: true }));
  passOn(app, { controllers, clock, log });
  serve(app, assets);
  const url = await listen(app, settings.listen);
  log.info({ url }, "console listens");
  return {
    url,
    async close() {
      const cancel = clock.timer(settings.shutdownMs, () => app.server.closeAllConnections());
      await app.close();
      cancel();
      await controllers.close();
      log.info("console stopped");
    },
  };
}

/**
 * A page of another site may have its own name lead to this address, and would be of the same origin then (DNS rebinding).
 * What no stranger's name can be is taken: an address, a name without a dot, this machine's own, and those that are set.
 */
function refuseOtherHosts({ headers, url }: FastifyRequest, own: ReadonlySet<string>): void {
  const name = hostName(headers.host);
  if (name === undefined || withAnyHost.has(url) || !name.includes(".") || own.has(name)) return;
  if (isIP(name) !== 0 || name.startsWith("[") || name.endsWith(".localhost")) return;
  throw new GitmeshError("foreign-host", `the console was asked for as ${name.slice(0, 255)}`);
}

/** Without the port; undefined when there is none, which no browser does. */
function hostName(host: string | undefined): string | undefined {
  return host?.replace(/:\d*$/, "").replace(/\.$/, "").toLowerCase();
}

function ownNames({ hosts, listen: address }: ConsoleSettings): ReadonlySet<string> {
  const machine = hostname().toLowerCase();
  return new Set([machine, `${machine}.local`, hostName(address) ?? "", ...hosts.map((name) => name.toLowerCase())]);
}

/** A page of another site must not change anything with the rights of who looks at it. */
function refuseOtherSites({ method, headers }: FastifyRequest): void {
  if (method === "GET" || method === "HEAD") return;
  const site = headers["sec-fetch-site"];
  const { origin, host } = headers;
  const foreign = site !== undefined && site !== "same-origin" && site !== "none";
  if (foreign || (origin !== undefined && !origin.endsWith(`//${host ?? ""}`))) {
    throw new GitmeshError("cross-site", "the console takes changes from its own pages only");
  }
}

interface PassDependencies {
  readonly controllers: Controllers;
  readonly clock: Clock;
  readonly log: Logger;
}

function passOn(app: FastifyInstance, deps: PassDependencies): void {
  const streams = new Set<FastifyReply>();
  void app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
    scope.get(activityPaths.eventStream, { exposeHeadRoute: false }, async (request, reply) => {
      await stream(deps, request, reply, streams);
    });
    scope.route({
      method: ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
      url: "/api/*",
      exposeHeadRoute: false,
      handler: async (request, reply) => {
        const answer = await deps.controllers.forward(callOf(request, reply));
        for (const name of answeredHeaders) {
          const value = answer.headers[name];
          if (value !== undefined) reply.header(name, value);
        }
        return reply.code(answer.statusCode).header("cache-control", "no-store").send(answer.body);
      },
    });
  });
  // They would never end by themselves.
  app.addHook("preClose", async () => {
    for (const reply of streams) reply.raw.destroy();
  });
}

async function stream(
  deps: PassDependencies,
  request: FastifyRequest,
  reply: FastifyReply,
  streams: Set<FastifyReply>,
): Promise<void> {
  const call = callOf(request, reply);
  const answer = await deps.controllers.stream(call);
  if (answer.statusCode !== 200) {
    void reply.code(answer.statusCode).type("application/problem+json").send(answer.body);
    return;
  }
  reply.hijack();
  streams.add(reply);
  const { raw } = reply;
  raw.on("error", () => {});
  raw.writeHead(200, {
    ...securityHeaders,
    "content-type": "text/event-stream",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
  });
  await relayEvents(deps, call, answer, raw);
  streams.delete(reply);
  raw.end();
}

function callOf(request: FastifyRequest, reply: FastifyReply): Call {
  const abort = new AbortController();
  reply.raw.once("close", () => abort.abort(new Error("the client went away")));
  const headers = { ...headersToPass(request.headers), "x-forwarded-for": request.ip };
  const body = Buffer.isBuffer(request.body) ? request.body : null;
  return { method: request.method, path: request.raw.url ?? "", headers, body, signal: abort.signal };
}

/** The page's own script is named by what is in it: no other one that gets into the page runs. */
function policyWith(scriptHashes: readonly string[]): string {
  return securityHeaders["content-security-policy"].replace(
    "script-src 'self'",
    `script-src 'self' ${scriptHashes.join(" ")}`,
  );
}

/** Files, and for every other address the page: which pages there are is the application's affair. */
function serve(app: FastifyInstance, assets: ReadonlyMap<string, Asset>): void {
  app.get("/*", async (request, reply) => {
    const [path = ""] = (request.raw.url ?? "").split("?", 1);
    const asset = assets.get(path) ?? (path.startsWith("/assets/") ? undefined : pageFor(assets, path));
    if (asset === undefined) throw new GitmeshError("not-found", "nothing is here");
    const { coding, body } = chooseBody(asset, request.headers["accept-encoding"] ?? "");
    if (coding !== "identity") reply.header("content-encoding", coding);
    if (asset.scriptHashes.length > 0) reply.header("content-security-policy", policyWith(asset.scriptHashes));
    return reply
      .header("vary", "accept-encoding")
      .header("cache-control", asset.immutable ? "public, max-age=31536000, immutable" : "no-cache")
      .type(asset.type)
      .send(body);
  });
}
