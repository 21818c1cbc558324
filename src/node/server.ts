/** A repository server, put together: from the disk up to the routes. */
import { join, resolve } from "node:path";
import { v7 as uuid } from "uuid";
import type { Clock } from "../base/clock.ts";
import { crashPoint } from "../base/crash-point.ts";
import { makeDirectoryDurably } from "../base/durable-directory.ts";
import { FairLimiter } from "../base/fair-limiter.ts";
import { createHttpServer, listen, requireClusterSecret } from "../base/http.ts";
import type { Logger } from "../base/log.ts";
import type { NodeSettings } from "../base/settings.ts";
import { Applier } from "./apply.ts";
import { CatchUp } from "./catch-up.ts";
import { Commits } from "./commits.ts";
import { lockDirectory } from "./directory-lock.ts";
import { Git } from "./git.ts";
import { gitRoutes } from "./git-route.ts";
import { Inspection } from "./inspection.ts";
import { HeartbeatSender } from "./heartbeat.ts";
import { readIdentity } from "./identity.ts";
import { replicaRoutes } from "./replica-route.ts";
import { quarantinesGone } from "./quarantine.ts";
import { Repositories } from "./repositories.ts";
import { trackSilentConnections } from "./silent-connections.ts";
import { Stager } from "./stage.ts";
import { UploadPack } from "./upload-pack.ts";
import { Verifier } from "./verify.ts";
import { onWritableDisk } from "./writable-disk.ts";

const jsonBytesMax = 1024 * 1024;
/** On top of gitProcessesMax; each is over soon. */
const applyProcessesMax = 16;
const verifiesMax = 1;

export interface RunningServer {
  readonly url: string;
  close(): Promise<void>;
}

/** How long a server that stops waits for what its broken-off pushes leave to be removed. */
const quarantinesMs = 5000;

/**
 * Starts a repository server on its directory. `onForeignDisk` is called when the directory's identity vanishes or
 * changes: the process is to end then.
 */
export async function startNode(
  settings: NodeSettings,
  { log, clock, onForeignDisk }: { log: Logger; clock: Clock; onForeignDisk: () => void },
): Promise<RunningServer> {
  // What is open, to be closed in reverse: when the server stops, and when it cannot start.
  const open: (() => unknown)[] = [];
  const close = async (): Promise<void> => {
    for (const closeOne of open.splice(0).toReversed()) await closeOne();
  };
  try {
    if (settings.advertiseUrl === undefined && /^(?:0\.0\.0\.0|\[::\]):/.test(settings.listen)) {
      throw new Error(
        `A repository server that listens on ${settings.listen} needs advertiseUrl: who is to reach it, and how?`,
      );
    }
    await onWritableDisk(async () => makeDirectoryDurably(resolve(settings.directory)), { clock, log });
    const git = await Git.start(log, clock);
    open.push(() => git.close());
    const lock = () => lockDirectory(settings.directory, git.processIds, clock);
    const unlock = await onWritableDisk(lock, { clock, log });
    // Given back when the last git is gone.
    open.unshift(unlock, async () => {
      const cancel = new AbortController();
      await Promise.race([quarantinesGone(settings.directory), clock.sleep(quarantinesMs, cancel.signal)]);
      cancel.abort();
    });
    crashPoint("start.locked");
    const identityFile = join(settings.directory, "identity.json");
    const nodeId = await onWritableDisk(() => readIdentity(identityFile), { clock, log });
    const repositories = new Repositories({ directory: settings.directory, git, clock });
    await onWritableDisk(() => repositories.prepare(), { clock, log });
    const gits = (runningMax: number, waitMs?: number): FairLimiter =>
      new FairLimiter({ runningMax, waitingMax: settings.gitQueueMax, waitMs, what: "git process" }, clock);
    const limiter = gits(settings.gitProcessesMax, settings.gitQueueMs);
    const applier = new Applier({ repositories, git, limiter: gits(applyProcessesMax) });
    const stager = new Stager({ repositories, git, limiter, secret: settings.secret, clock });
    const catchUp = new CatchUp({ repositories, git, limiter, applier, secret: settings.secret });
    const commits = new Commits({ repositories, git, limiter });
    const verifier = new Verifier({ repositories, git, applier, limiter: gits(verifiesMax) });
    const inspection = new Inspection({ repositories, git, limiter, applier });
    const uploadPack = new UploadPack({ repositories, git });
    let isReady = (): boolean => false;

    const app = createHttpServer({
      log,
      requestIdleMs: settings.requestIdleMs,
      bodyLimitBytes: jsonBytesMax,
      connectionsMax: settings.connectionsMax,
      vital: ["/healthz", "/readyz"],
    });
    const closeSilentConnections = trackSilentConnections(app.server);
    void app.register(async (guarded) => {
      guarded.addHook("onRequest", requireClusterSecret(settings.secret));
      replicaRoutes(guarded, { repositories, stager, applier, catchUp, commits, verifier, inspection, clock });
      gitRoutes(guarded, { uploadPack, limiter });
    });
    app.get("/healthz", async () => ({ status: "ok" }));
    app.get("/readyz", async (_request, reply) => {
      const ready = isReady();
      return reply.code(ready ? 200 : 503).send({ status: ready ? "ready" : "not registered with a controller yet" });
    });
    app.addHook("preClose", async () => closeSilentConnections());
    open.push(() => app.close());
    const url = await listen(app, settings.listen);

    const heartbeat = new HeartbeatSender({
      settings,
      repositories,
      applier,
      nodeId,
      identityFile,
      bootId: uuid(),
      advertiseUrl: settings.advertiseUrl ?? url,
      clock,
      log,
      onForeignDisk,
    });
    isReady = () => heartbeat.registered;
    heartbeat.start();
    open.push(() => heartbeat.close());
    log.info({ url, directory: settings.directory, nodeId }, "repository server listens");
    return { url, close };
  } catch (error) {
    await close();
    throw error;
  }
}
