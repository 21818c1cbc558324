/** HTTP servers as all of ours are: request ids, problem documents, limits. The only file that makes a fastify. */
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import Fastify, {
  LogController,
  type FastifyBaseLogger,
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from "fastify";
import { hasZodFastifySchemaValidationErrors, serializerCompiler, validatorCompiler } from "fastify-type-provider-zod";
import { v7 as uuid } from "uuid";
import { asGitmeshError, GitmeshError, messageOf, toProblem, type ErrorCode } from "./errors.ts";
import type { Logger } from "./log.ts";
import { isAcceptedSecret } from "./secret.ts";

export interface HttpServerOptions {
  readonly log: Logger;
  /** A connection that moves no byte for this long is closed, ms. */
  readonly requestIdleMs: number;
  /** Largest body that is parsed; raw bodies (rawBodyRoutes) have limits of their own. */
  readonly bodyLimitBytes: number;
  /** Connections that are served; none: as many as come. Twice as many are told that it is busy, others are closed. */
  readonly connectionsMax?: number;
  /** What the URLs begin with that are served all the same. */
  readonly vital?: readonly string[];
}

const headerBytesMax = 16 * 1024;
const retryAfterSeconds = 1;
/** fastify's own errors, in our words. */
const fastifyCodes: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: "too-large",
  FST_ERR_CTP_INVALID_MEDIA_TYPE: "unsupported-media-type",
};

/** A server with nothing on it yet. */
export function createHttpServer(options: HttpServerOptions): FastifyInstance {
  const loggerInstance: FastifyBaseLogger = options.log;
  const app: FastifyInstance = Fastify({
    loggerInstance,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: options.bodyLimitBytes,
    genReqId: requestIdOf,
    requestIdHeader: false,
    forceCloseConnections: "idle",
    keepAliveTimeout: 75_000,
    connectionTimeout: 0,
    requestTimeout: 0,
    routerOptions: { ignoreTrailingSlash: false, maxParamLength: 2048 },
    http: { maxHeaderSize: headerBytesMax, insecureHTTPParser: false },
    clientErrorHandler: answerMalformed,
    frameworkErrors: (error, request, reply) => {
      void sendProblem(requestError(error, request), request, reply);
    },
  });
  app.server.headersTimeout = Math.min(options.requestIdleMs, 60_000);
  app.server.setTimeout(options.requestIdleMs, (socket: Socket) => socket.destroy());
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  const methods = new RouteMethods();
  app.addHook("onRoute", ({ method, url }) => methods.add(method, url));
  app.addHook("onRequest", async (request, reply) => {
    reply.header("x-request-id", request.id);
  });
  if (options.connectionsMax !== undefined) limitConnections(app, options.connectionsMax, options.vital ?? []);
  app.setErrorHandler((error, request, reply) => sendProblem(requestError(error, request), request, reply));
  app.setNotFoundHandler((request, reply) => {
    const allowed = methods.of(request.url);
    if (allowed.length === 0) return sendProblem(new GitmeshError("not-found", "nothing is here"), request, reply);
    reply.header("allow", allowed.join(", "));
    const detail = `this takes ${allowed.join(", ")}, not ${request.method}`;
    return sendProblem(new GitmeshError("method-not-allowed", detail), request, reply);
  });
  return app;
}

/** Listens on "HOST:PORT" and gives the base URL. Throws one sentence for a port in use or an address that is not ours. */
export async function listen(app: FastifyInstance, address: string): Promise<string> {
  const colon = address.lastIndexOf(":");
  const host = address.slice(0, colon).replace(/^\[|\]$/g, "");
  const port = Number(address.slice(colon + 1));
  try {
    return await app.listen({ host, port });
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "EADDRINUSE")
      throw new Error(`Port ${port} on ${host} is in use by another program.`, { cause: error });
    if (code === "EADDRNOTAVAIL") throw new Error(`${host} is not an address of this machine.`, { cause: error });
    if (code === "EACCES") throw new Error(`Not allowed to listen on port ${port}.`, { cause: error });
    throw error;
  }
}

/**
 * Makes the routes of this (scoped) plugin take bodies as they come, whatever their content type: `request.body` is the
 * raw stream.
 */
export function rawBodyRoutes(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
}

/** The raw body of a route under rawBodyRoutes; a request without one gives the (ended) message itself. */
export function rawBody(request: FastifyRequest): IncomingMessage {
  return (request.body as IncomingMessage | undefined) ?? request.raw;
}

/** A hook that lets nobody past without the cluster secret ("Authorization: Bearer SECRET"). */
export function requireClusterSecret(setting: string): (request: FastifyRequest) => Promise<void> {
  return async (request) => {
    const given = /^Bearer (.+)$/.exec(request.headers.authorization ?? "")?.[1];
    if (given === undefined || !isAcceptedSecret(setting, given)) {
      throw new GitmeshError(
        "unauthenticated",
        "this address is for the servers of the cluster, and the cluster secret is missing or wrong",
      );
    }
  };
}

/** Answers with a problem document (RFC 9457); what is our fault goes to the log with its cause. */
export function sendProblem(error: GitmeshError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const problem = toProblem(error);
  if (error.code === "internal" || error.code === "git-failed") {
    request.log.error({ err: error.cause ?? error, requestId: request.id, url: request.url }, error.message);
  }
  // Who still uploads would not read the answer on a connection that is used again.
  if (!request.raw.complete) reply.header("connection", "close");
  if (problem.status === 503) reply.header("retry-after", retryAfterSeconds);
  return reply
    .code(problem.status)
    .header("x-request-id", request.id)
    .type("application/problem+json")
    .serializer((value: unknown) => JSON.stringify(value))
    .send({ ...problem, requestId: request.id });
}

function limitConnections(app: FastifyInstance, connectionsMax: number, vital: readonly string[]): void {
  let connections = 0;
  const surplus = new WeakSet<Socket>();
  app.server.maxConnections = 2 * connectionsMax;
  app.server.on("connection", (socket: Socket) => {
    connections += 1;
    if (connections > connectionsMax) surplus.add(socket);
    socket.once("close", () => (connections -= 1));
  });
  app.addHook("onRequest", async (request, reply) => {
    if (!surplus.has(request.raw.socket) || vital.some((prefix) => request.url.startsWith(prefix))) return;
    reply.header("connection", "close");
    throw new GitmeshError("busy", `there are more than ${connectionsMax} connections; try again shortly`);
  });
}

/** Which methods an address takes: the router tells an unknown address and an unknown method apart no longer. */
class RouteMethods {
  readonly #routes: { readonly methods: readonly string[]; readonly pattern: RegExp }[] = [];

  add(method: string | readonly string[], url: string): void {
    const pattern = url
      .replaceAll(/[.+?^$(){}|[\]\\]/g, "\\$&")
      .replaceAll(/:[A-Za-z]+/g, "[^/]+")
      .replaceAll("*", ".*");
    this.#routes.push({ methods: [method].flat(), pattern: new RegExp(`^${pattern}$`) });
  }

  of(url: string): string[] {
    const path = url.split("?", 1)[0] ?? "";
    const found = this.#routes.filter(({ pattern }) => pattern.test(path)).flatMap(({ methods }) => methods);
    return [...new Set(found)].toSorted();
  }
}

/** Whatever was thrown while a request was handled, as an error of the catalogue. */
export function requestError(error: unknown, request: FastifyRequest): GitmeshError {
  if (error instanceof GitmeshError) return error;
  if (request.raw.socket.destroyed) {
    return new GitmeshError("bad-request", "the client went away before it had its answer");
  }
  if (hasZodFastifySchemaValidationErrors(error)) {
    const errors = error.validation.map((issue) => ({
      path: `${error.validationContext ?? "request"}${issue.instancePath}`,
      message: issue.message ?? "does not fit",
    }));
    const detail = errors.map(({ path, message }) => `${path}: ${message}`).join("; ");
    return new GitmeshError("bad-request", detail, { fields: { errors } });
  }
  const { code, statusCode } = error as Partial<FastifyError>;
  const known = code === undefined ? undefined : fastifyCodes[code];
  if (known !== undefined) return new GitmeshError(known, messageOf(error));
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    return new GitmeshError("bad-request", messageOf(error), { cause: error });
  }
  return asGitmeshError(error);
}

function requestIdOf(request: IncomingMessage): string {
  const given = request.headers["x-request-id"];
  return typeof given === "string" && /^[A-Za-z0-9._-]{1,64}$/.test(given) ? given : uuid();
}

/** What is no HTTP at all gets a plain 400 (431 for headers that are too long) and the connection's end. */
function answerMalformed(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const status = error.code === "HPE_HEADER_OVERFLOW" ? "431 Request Header Fields Too Large" : "400 Bad Request";
  const body = `${JSON.stringify({ ...toProblem(new GitmeshError("bad-request", "this is not well-formed HTTP")) })}\n`;
  socket.end(
    `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: application/problem+json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}
