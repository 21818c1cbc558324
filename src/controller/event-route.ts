/** REST: /api/events and its stream (server-sent events, https://html.spec.whatwg.org/multipage/server-sent-events.html). */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import type { Clock } from "../base/clock.ts";
import { GitmeshError } from "../base/errors.ts";
import type { ControllerSettings } from "../base/settings.ts";
import { activityPaths, eventViewSchema, listEventsQuerySchema, storeDownHeader } from "../protocol/activity-api.ts";
import type { Store } from "../store/store.ts";
import { eventView } from "./activity-views.ts";
import { messageText, type EventStream } from "./event-stream.ts";
import type { Membership } from "./membership.ts";
import { isUrlOf } from "./node-lookup.ts";
import { problems } from "./open-api-route.ts";

export interface EventRouteDependencies {
  readonly store: Store;
  readonly membership: Membership;
  readonly eventStream: EventStream;
  readonly settings: ControllerSettings;
  readonly clock: Clock;
  /** Of this controller. */
  readonly name: string;
  readonly version: string;
}

const streamQuerySchema = z.object({
  lastEventId: z.coerce.number().int().min(0).optional().describe("Where there is no Last-Event-ID header"),
});
/** Removed nodes that are still found by their URL. */
const removalsMax = 1000;
/** A client that takes nothing for this many bytes is cut off: it comes back and goes on. */
const unsentBytesMax = 1024 * 1024;
/** A client that hears nothing for somewhat longer may take its controller for hung (src/console/controllers.ts). */
const keepAliveMaxMs = 3000;
/** How soon a client that lost the connection is to come back. */
const retryMs = 1000;

export async function eventRoutes(app: FastifyInstance, deps: EventRouteDependencies): Promise<void> {
  const { store, membership } = deps;
  const routes = app.withTypeProvider<ZodTypeProvider>();
  const open = new Set<FastifyReply>();

  routes.get(
    activityPaths.events,
    {
      schema: {
        summary: "What changed the cluster, newest first",
        tags: ["cluster"],
        querystring: listEventsQuerySchema,
        response: { 200: z.array(eventViewSchema), ...problems(400, 503) },
      },
    },
    async (request) => {
      const { before, kind, repository, node, limit } = request.query;
      const events = await store.listEvents({
        before,
        kinds: kind,
        repositoryId: repository === undefined ? undefined : await repositoryIdOf(store, repository),
        nodeId: node === undefined ? undefined : await nodeIdOf(deps, node),
        limit,
      });
      return events.map((event) => eventView(event, membership));
    },
  );

  routes.get(
    activityPaths.eventStream,
    {
      // Its answer would never end.
      exposeHeadRoute: false,
      schema: {
        summary: "The same as it happens",
        description:
          "Server-sent events. A client that comes back with Last-Event-ID misses nothing, through whichever controller.",
        tags: ["cluster"],
        querystring: streamQuerySchema,
        response: { 200: z.string().describe("text/event-stream"), ...problems(400, 503) },
      },
    },
    async (request, reply) => {
      await stream(deps, request, reply, request.query.lastEventId, open);
    },
  );

  // They would never end by themselves.
  app.addHook("preClose", async () => {
    for (const reply of open) reply.raw.end();
  });
}

async function stream(
  { eventStream, settings, clock, name, version }: EventRouteDependencies,
  request: FastifyRequest,
  reply: FastifyReply,
  lastEventId: number | undefined,
  open: Set<FastifyReply>,
): Promise<void> {
  const header = request.headers["last-event-id"];
  const lastId = typeof header === "string" && /^\d{1,15}$/.test(header) ? Number(header) : lastEventId;
  if (eventStream.full) throw new GitmeshError("busy", "as many clients watch as may");
  const { raw } = reply;
  const begun: string[] = [`retry: ${retryMs}\n\n`];
  const write = (text: string): void => {
    if (!raw.headersSent) begun.push(text);
    else if (raw.writableLength > unsentBytesMax) raw.destroy();
    else raw.write(text);
  };
  write(messageText("hello", { controller: name, version }));
  const { begun: storeAnswers, leave } = await eventStream.watch({ write }, lastId);
  reply.hijack();
  open.add(reply);
  const keepAliveMs = Math.min(keepAliveMaxMs, settings.requestIdleMs / 3);
  let cancel = (): void => {};
  const keepAlive = (): void => {
    cancel = clock.timer(keepAliveMs, () => {
      write(":\n\n");
      keepAlive();
    });
  };
  raw.once("close", () => {
    leave();
    cancel();
    open.delete(reply);
  });
  raw.on("error", () => {});
  raw.writeHead(200, {
    "content-type": "text/event-stream",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
    "x-request-id": request.id,
    ...(storeAnswers ? {} : { [storeDownHeader]: "true" }),
  });
  raw.write(begun.join(""));
  keepAlive();
  if (raw.destroyed) raw.emit("close");
}

/** A deleted one is found by its name too, and one that is called otherwise now by the old one. */
async function repositoryIdOf(store: Store, nameOrId: string): Promise<string> {
  const found = await store.findRepository(nameOrId);
  return found?.repository.id ?? (await store.repositoryIdInEvents(nameOrId)) ?? nameOrId;
}

/** One that was removed is found by its URL too: the event of its removal begins with it. */
async function nodeIdOf({ store, membership }: EventRouteDependencies, wanted: string): Promise<string> {
  const found = membership.nodes().find((node) => isUrlOf(node.url, wanted));
  if (found !== undefined) return found.id;
  const removals = await store.listEvents({ kinds: ["node-removed"], limit: removalsMax });
  return removals.find(({ detail }) => isUrlOf(detail.split(",", 1)[0] ?? "", wanted))?.nodeId ?? wanted;
}
