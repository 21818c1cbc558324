/** A controller, put together: from the store up to the routes. */
import type { Clock } from "../base/clock.ts";
import { createHttpServer, listen } from "../base/http.ts";
import type { Logger } from "../base/log.ts";
import type { ControllerSettings } from "../base/settings.ts";
import { version } from "../base/version.ts";
import { openStore } from "../store/open-store.ts";
import { Adoption } from "./adoption.ts";
import { ReplicaApplier } from "./apply.ts";
import { Cached } from "./cached.ts";
import { clusterRoutes } from "./cluster-route.ts";
import { Copies } from "./copies.ts";
import { EventStream } from "./event-stream.ts";
import { FetchCache } from "./fetch-cache.ts";
import { gitHttpRoutes } from "./git-http-route.ts";
import { Housekeeping } from "./housekeeping.ts";
import { KnownRepositories } from "./known-repositories.ts";
import { LeaseKeeper } from "./lease.ts";
import { Membership } from "./membership.ts";
import { Metrics } from "./metrics.ts";
import { HttpNodeClient } from "./node-client.ts";
import { NodeInventory } from "./node-inventory.ts";
import { replicaCountsMs } from "./node-route.ts";
import { NodeReports } from "./node-reports.ts";
import { Orphans } from "./orphans.ts";
import { ReceivePack } from "./receive-pack.ts";
import { ByteBudget } from "./request-body.ts";
import { RefSnapshots } from "./ref-snapshot.ts";
import { Repair } from "./repair.ts";
import { ReplicaCatchUp } from "./replica-catch-up.ts";
import { ReplicaVerification } from "./replica-verification.ts";
import { RepositoryChanges } from "./repository-changes.ts";
import { RepositoryCreation } from "./repository-creation.ts";
import { restRoutes } from "./rest-route.ts";
import { Scrub } from "./scrub.ts";
import { StoreReadiness } from "./store-readiness.ts";
import { UploadPack } from "./upload-pack.ts";
import { WorkLog } from "./work-log.ts";

export interface RunningController {
  /** Where it listens. */
  readonly url: string;
  /** Ends running requests (within `shutdownMs`) and the background work. */
  close(): Promise<void>;
}

const agent = `gitmesh/${version}`;
/** What is answered without the store. */
const withoutStore = new Set(["/healthz"]);

/**
 * Listens at once, and resolves when it serves: until then whatever needs the store is refused with "store-unavailable".
 * Throws one sentence when it cannot start: the store cannot be used, the port is taken.
 */
export async function startController(
  settings: ControllerSettings,
  { log, clock }: { log: Logger; clock: Clock },
): Promise<RunningController> {
  const store = await openStore(settings.database, {
    clock,
    log,
    timeoutMs: settings.storeTimeoutMs,
    resolveMs: settings.commitResolveMs,
    // It may be another one, or restored from a backup.
    onRecovery: () => {
      snapshots.clear();
      cache?.clear();
    },
  });
  const nodeClient = new HttpNodeClient({
    secret: settings.secret,
    connectMs: settings.nodeConnectMs,
    idleMs: settings.nodeIdleMs,
    clock,
  });
  const cache = fetchCacheOf(settings, clock, log);
  const stopping = new AbortController();
  const closeBase = async (): Promise<void> => {
    stopping.abort();
    cache?.clear();
    await nodeClient.close();
    await store.close();
  };

  const { heartbeatIntervalMs, nodeTimeoutMs, repairIntervalMs, leaseMs, name } = settings;
  const membership = new Membership({ store, clock, log, heartbeatIntervalMs, nodeTimeoutMs });
  const snapshots = new RefSnapshots(store, settings.refSnapshotBytesMax, settings.staleReads);
  const repositories = new KnownRepositories(store, settings.staleReads);
  const readiness = new StoreReadiness({ store, clock, log });
  const metrics = new Metrics({ store, clock, log, id: clock.uuid() });
  const shared = { store, nodeClient, membership, metrics, settings, clock, log };
  const applier = new ReplicaApplier({ ...shared, applyMs: settings.applyMs });
  const budget = new ByteBudget(settings.fetchRequestsBytesMax);
  const uploadPack = new UploadPack({ ...shared, snapshots, agent, cache });
  const receivePack = new ReceivePack({ ...shared, applier });
  const creation = new RepositoryCreation(shared);
  const orphans = new Orphans({ ...shared, intervalMs: 10 * repairIntervalMs });
  const inventory = new NodeInventory({ ...shared, orphans, intervalMs: repairIntervalMs });
  const changes = new RepositoryChanges({ ...shared, inventory });
  const reports = new NodeReports({ ...shared, orphans, inventory });
  const lease = new LeaseKeeper({
    store,
    clock,
    log,
    name: "repair",
    holder: `${name} ${clock.uuid()}`,
    leaseMs,
    onAttempt: (done) => membership.noteWrite(done),
  });
  const catchUp = new ReplicaCatchUp({ ...shared, applier });
  const adoption = new Adoption({ ...shared, catchUp });
  const workLog = new WorkLog(shared);
  const repair = new Repair({ ...shared, applier, catchUp, lease, workLog });
  const housekeeping = new Housekeeping({ ...shared, lease });
  const eventStream = new EventStream(shared);
  const replicaCounts = new Cached(() => store.countReplicas(), { keepMs: replicaCountsMs, clock });

  const verification = new ReplicaVerification(shared);
  const scrub = new Scrub({ ...shared, verification, lease, workLog });
  const copies = new Copies({ ...shared, lease });

  const app = createHttpServer({
    log,
    requestIdleMs: settings.requestIdleMs,
    bodyLimitBytes: settings.jsonBytesMax,
    connectionsMax: settings.connectionsMax,
    // An overload of clients must not make servers look dead.
    vital: ["/cluster/", "/healthz", "/readyz"],
  });
  app.addHook("onRequest", async (request) => {
    if (!withoutStore.has(request.url)) readiness.require();
  });
  const background = { lease, repair, copies };
  const git = { ...shared, repositories, budget, snapshots, uploadPack, receivePack, agent };
  void app.register((routes) => gitHttpRoutes(routes, git));
  void app.register((routes) =>
    restRoutes(routes, {
      ...shared,
      ...background,
      creation,
      changes,
      adoption,
      eventStream,
      replicaCounts,
      name,
      version,
    }),
  );
  void app.register((routes) => clusterRoutes(routes, { reports, settings }));

  let url: string;
  try {
    url = await listen(app, settings.listen);
    await readiness.prepare(() => membership.refresh());
  } catch (error) {
    await app.close();
    await closeBase();
    throw error;
  }
  const parts = [membership, lease, repair, scrub, copies, inventory, orphans, metrics, housekeeping, eventStream];
  const loops = parts.map((part) => part.run(stopping.signal));
  log.info({ url, store: store.engine, version }, "controller listens");

  return {
    url,
    async close() {
      const cancel = clock.timer(settings.shutdownMs, () => app.server.closeAllConnections());
      await app.close();
      cancel();
      stopping.abort();
      await Promise.all(loops);
      await closeBase();
      log.info("controller stopped");
    },
  };
}

function fetchCacheOf(settings: ControllerSettings, clock: Clock, log: Logger): FetchCache | undefined {
  const { fetchCacheBytes: bytesMax, fetchCacheDirectory: directory, requestIdleMs } = settings;
  if (bytesMax === 0) return undefined;
  // Who waits for others must not be taken for idle.
  return new FetchCache({ directory, bytesMax, stepMs: requestIdleMs / 3, clock, log });
}
