/**
 * The git endpoints (gitprotocol-http): URL and headers in, operation out. Refusals are plain text, which git shows as
 * "remote: ..." when it gets them for `info/refs`.
 */
import type { Readable } from "node:stream";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Clock } from "../base/clock.ts";
import { GitmeshError } from "../base/errors.ts";
import { rawBody, rawBodyRoutes, requestError } from "../base/http.ts";
import { writeQuorumOf, type ControllerSettings } from "../base/settings.ts";
import { parseGitProtocol, receivePackAdvertisement } from "../protocol/advertisement.ts";
import { repositoryNameFromUrlPath } from "../protocol/repository-name.ts";
import type { Repository, RepositoryWithReplicas } from "../store/store.ts";
import { behindSentence } from "./adoption-plan.ts";
import type { KnownRepositories } from "./known-repositories.ts";
import type { Membership } from "./membership.ts";
import type { Metrics } from "./metrics.ts";
import type { ReceivePack } from "./receive-pack.ts";
import type { RefSnapshots } from "./ref-snapshot.ts";
import { decodedBody, withWholeBody, type ByteBudget } from "./request-body.ts";
import { routeWrite } from "./router.ts";
import type { UploadPack } from "./upload-pack.ts";

export interface GitHttpDependencies {
  readonly repositories: KnownRepositories;
  readonly membership: Membership;
  readonly snapshots: RefSnapshots;
  readonly uploadPack: UploadPack;
  readonly receivePack: ReceivePack;
  readonly metrics: Metrics;
  /** For requests of fetches. */
  readonly budget: ByteBudget;
  readonly settings: ControllerSettings;
  readonly clock: Clock;
  /** As clients see it, "gitmesh/0.1.0". */
  readonly agent: string;
}

type Service = "git-upload-pack" | "git-receive-pack";

/** What a URL below /git/ asks for. */
export type GitRequest =
  | { readonly kind: "advertise"; readonly name: string; readonly service: Service }
  | { readonly kind: "call"; readonly name: string; readonly service: Service };

const prefix = "/git/";
const retryAfterSeconds = 1;
/** How long an upload is read on that was answered already. */
const unreadUploadMs = 2000;

/** Routes /git/NAME(.git)/info/refs, /git-upload-pack and /git-receive-pack. */
export async function gitHttpRoutes(app: FastifyInstance, deps: GitHttpDependencies): Promise<void> {
  rawBodyRoutes(app);
  app.setErrorHandler((error, request, reply) => sendText(requestError(error, request), request, reply));
  app.route({
    method: ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
    url: `${prefix}*`,
    exposeHeadRoute: false,
    schema: { hide: true },
    handler: (request, reply) => answer(deps, request, reply),
  });
}

async function answer(deps: GitHttpDependencies, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const asked = parseGitUrl(request.method, request.raw.url ?? "");
  const access = asked.service === "git-upload-pack" ? "read" : "write";
  const { repository, stale } = await deps.repositories.find(asked.name, access);
  refuseBehind(repository.repository, access, deps.settings);
  if (stale) reply.header("x-gitmesh-stale", "the metadata store does not answer");
  // gitprotocol-http: nothing of this may be cached on the way.
  reply.header("cache-control", "no-cache, max-age=0, must-revalidate");
  reply.header("pragma", "no-cache").header("expires", "Fri, 01 Jan 1980 00:00:00 GMT");
  if (asked.kind === "advertise") {
    const body = await advertisement(deps, asked.service, repository, gitProtocolOf(request));
    return reply.type(`application/x-${asked.service}-advertisement`).send(body);
  }
  checkContentType(request, asked.service);
  endUnreadUpload(request, reply, deps.clock);
  countTraffic(deps.metrics, request, reply);
  const body = await call(deps, asked.service, repository, request, reply);
  return reply.type(`application/x-${asked.service}-result`).send(body);
}

async function call(
  deps: GitHttpDependencies,
  service: Service,
  repository: RepositoryWithReplicas,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<Buffer | Readable> {
  const decoded = decodedBody(rawBody(request));
  const signal = clientSignal(reply);
  if (service === "git-receive-pack") {
    const { ip: actor, id: requestId } = request;
    return (await deps.receivePack.handle({ repository, body: decoded, requestId, actor, signal })).body;
  }
  const gitProtocol = gitProtocolOf(request);
  return withWholeBody(decoded, deps.settings.fetchRequestBytesMax, deps.budget, async (body) => {
    const answered = await deps.uploadPack.handle({ repository, gitProtocol, body, signal });
    deps.metrics.fetched(body);
    return answered;
  });
}

/** Bytes on the connection while this request was on it. */
function countTraffic(metrics: Metrics, request: FastifyRequest, reply: FastifyReply): void {
  const { socket } = request.raw;
  const { bytesRead, bytesWritten } = socket;
  reply.raw.once("close", () => metrics.moved(socket.bytesRead - bytesRead, socket.bytesWritten - bytesWritten));
}

/** A push to a repository that has lost pushes would bury them; a read would show acknowledged ones as never made. */
function refuseBehind(repository: Repository, access: "read" | "write", { staleReads }: ControllerSettings): void {
  if (repository.aheadGeneration < 0 || (access === "read" && staleReads)) return;
  throw new GitmeshError("store-behind", behindSentence(repository));
}

/**
 * Reads a URL from its end, as the name may have slashes. `url` is the raw one, with its query.
 * Throws "not-found", "bad-request", "bad-repository-name", "method-not-allowed" and "service-not-offered".
 */
export function parseGitUrl(method: string, url: string): GitRequest {
  const queryStart = url.indexOf("?");
  const path = queryStart < 0 ? url : url.slice(0, queryStart);
  const parsed = /^\/git\/(.+)\/(info\/refs|git-upload-pack|git-receive-pack)$/.exec(path);
  const [, rawName, endpoint] = parsed ?? [];
  if (rawName === undefined || endpoint === undefined)
    throw new GitmeshError("not-found", "no git endpoint has this URL");
  if (endpoint !== "info/refs") {
    if (method !== "POST") throw new GitmeshError("method-not-allowed", `${endpoint} takes POST`);
    return { kind: "call", name: repositoryNameFromUrlPath(rawName), service: endpoint as Service };
  }
  if (method !== "GET" && method !== "HEAD") throw new GitmeshError("method-not-allowed", "info/refs takes GET");
  const services = new URLSearchParams(queryStart < 0 ? "" : url.slice(queryStart)).getAll("service");
  if (services.length === 0) {
    throw new GitmeshError("service-not-offered", "dumb HTTP is not offered: use git 1.6.6 or newer");
  }
  const [service] = services;
  if (services.length > 1 || (service !== "git-upload-pack" && service !== "git-receive-pack")) {
    throw new GitmeshError(
      "service-not-offered",
      "this service is not offered: git-upload-pack and git-receive-pack are",
    );
  }
  return { kind: "advertise", name: repositoryNameFromUrlPath(rawName), service };
}

async function advertisement(
  deps: GitHttpDependencies,
  service: Service,
  { repository, replicas }: RepositoryWithReplicas,
  gitProtocol: string | undefined,
): Promise<Buffer> {
  // What would be refused now is told before anything is uploaded or asked for.
  (service === "git-upload-pack" ? deps.uploadPack : deps.receivePack).checkRoom();
  if (service === "git-upload-pack") return deps.uploadPack.advertise(repository, gitProtocol);
  const quorum = writeQuorumOf(repository.replicasWanted, deps.settings.writeQuorum);
  const route = routeWrite(replicas, deps.membership.nodes(), quorum);
  if (route.kind === "no-quorum") throw new GitmeshError("no-write-quorum", route.sentence);
  // There is no protocol v2 of pushing: such a client is answered as git's own receive-pack does, in v0.
  const version = parseGitProtocol(gitProtocol) === 1 ? 1 : 0;
  const snapshot = await deps.snapshots.get(repository);
  return snapshot.encoded(`receive-pack ${version}`, (set) => receivePackAdvertisement(version, set, deps.agent));
}

function gitProtocolOf(request: FastifyRequest): string | undefined {
  const header = request.headers["git-protocol"];
  return Array.isArray(header) ? header.join(":") : header;
}

function checkContentType(request: FastifyRequest, service: Service): void {
  const wanted = `application/x-${service}-request`;
  if (request.headers["content-type"] !== wanted) {
    throw new GitmeshError("unsupported-media-type", `Content-Type must be ${wanted}`);
  }
}

/**
 * A client that has its whole answer may still upload, and nobody reads that any more: a little is read on, since its
 * connection is to be used again, and one that goes on for longer is cut off.
 */
function endUnreadUpload(request: FastifyRequest, reply: FastifyReply, clock: Clock): void {
  reply.raw.once("finish", () => {
    if (request.raw.complete) return;
    request.raw.resume();
    const cancel = clock.timer(unreadUploadMs, () => request.raw.socket.destroySoon());
    request.raw.once("close", cancel);
  });
}

/** Aborts when the client goes away before it has its answer. */
function clientSignal(reply: FastifyReply): AbortSignal {
  const abort = new AbortController();
  reply.raw.once("close", () => {
    if (!reply.raw.writableFinished) abort.abort(new Error("the client went away"));
  });
  return abort.signal;
}

function sendText(error: GitmeshError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const { status } = error.entry;
  if (error.code === "internal" || error.code === "git-failed") {
    request.log.error({ err: error.cause ?? error, requestId: request.id, url: request.url }, error.message);
  }
  // Who still uploads would not read the answer on a connection that is used again.
  if (!request.raw.complete) reply.header("connection", "close");
  if (status === 503) reply.header("retry-after", retryAfterSeconds);
  if (status === 405) reply.header("allow", request.url.includes("/info/refs") ? "GET, HEAD" : "POST");
  return reply.code(status).type("text/plain; charset=utf-8").send(`${error.message}\n`);
}
