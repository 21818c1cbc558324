/** A controller, put together: from the store up to the routes. */
import type { Clock } from "../base/clock.ts";
import { GitmeshError, messageOf } from "../base/errors.ts";
import { createHttpServer, listen } from "../base/http.ts";
import type { Logger } from "../base/log.ts";
import type { ControllerSettings } from "../base/settings.ts";
import { version } from "../base/version.ts";
import { openStore } from "../store/open-store.ts";
import type { Store } from "../store/store.ts";
import { ReplicaApplier } from "./apply.ts";
import { clusterRoutes } from "./cluster-route.ts";
import { Copies } from "./copies.ts";
import { gitHttpRoutes } from "./git-http-route.ts";
import { LeaseKeeper } from "./lease.ts";
import { Membership } from "./membership.ts";
import { HttpNodeClient } from "./node-client.ts";
import { NodeInventory } from "./node-inventory.ts";
import { Orphans } from "./orphans.ts";
import { ReceivePack } from "./receive-pack.ts";
import { RefSnapshots } from "./ref-snapshot.ts";
import { Repair } from "./repair.ts";
import { ReplicaCatchUp } from "./replica-catch-up.ts";
import { ReplicaVerification } from "./replica-verification.ts";
import { RepositoryChanges } from "./repository-changes.ts";
import { RepositoryCreation } from "./repository-creation.ts";
import { restRoutes } from "./rest-route.ts";
import { Scrub } from "./scrub.ts";
import { UploadPack } from "./upload-pack.ts";

export interface RunningController {
  /** Where it listens. */
  readonly url: string;
  /** Ends running requests (within `shutdownMs`) and the background work. */
  close(): Promise<void>;
}

const agent = `gitmesh/${version}`;
/** How long a database that does not answer yet is waited for at the start. */
const storeWaitMs = 60_000;
const storeRetryMs = 500;

/** Throws one sentence when it cannot start: the store does not answer, the port is taken. */
export async function startController(
  settings: ControllerSettings,
  { log, clock }: { log: Logger; clock: Clock },
): Promise<RunningController> {
  const store = await openStore(settings.database, { clock, log });
  const nodeClient = new HttpNodeClient({
    secret: settings.secret,
    connectMs: settings.nodeConnectMs,
    idleMs: settings.nodeIdleMs,
    clock,
  });
  const stopping = new AbortController();
  const closeBase = async (): Promise<void> => {
    stopping.abort();
    await nodeClient.close();
    await store.close();
  };

  const { heartbeatIntervalMs, nodeTimeoutMs, repairIntervalMs, leaseMs, name } = settings;
  const membership = new Membership({ store, clock, log, heartbeatIntervalMs, nodeTimeoutMs });
  const snapshots = new RefSnapshots(store, settings.refSnapshotBytesMax);
  const shared = { store, nodeClient, membership, settings, clock, log };
  const applier = new ReplicaApplier({ ...shared, applyMs: settings.applyMs });
  const uploadPack = new UploadPack({ ...shared, snapshots, agent });
  const receivePack = new ReceivePack({ ...shared, applier });
  const creation = new RepositoryCreation(shared);
  const changes = new RepositoryChanges(shared);
  const orphans = new Orphans({ ...shared, intervalMs: 10 * repairIntervalMs });
  const inventory = new NodeInventory({ ...shared, orphans, intervalMs: repairIntervalMs });
  const lease = new LeaseKeeper({ store, clock, log, name: "repair", holder: `${name} ${clock.uuid()}`, leaseMs });
  const catchUp = new ReplicaCatchUp({ ...shared, applier });
  const repair = new Repair({ ...shared, applier, catchUp, lease });

  const verification = new ReplicaVerification(shared);
  const scrub = new Scrub({ ...shared, verification, lease });
  const copies = new Copies({ ...shared, lease });

  const app = createHttpServer({ log, requestIdleMs: settings.requestIdleMs, bodyLimitBytes: settings.jsonBytesMax });
  void app.register((routes) => gitHttpRoutes(routes, { ...shared, snapshots, uploadPack, receivePack, agent }));
  void app.register((routes) =>
    restRoutes(routes, { ...shared, creation, changes, lease, repair, copies, name, version }),
  );
  void app.register((routes) => clusterRoutes(routes, { ...shared, orphans }));

  let url: string;
  try {
    await readyStore(store, clock, log);
    await membership.refresh();
    url = await listen(app, settings.listen);
  } catch (error) {
    await app.close();
    await closeBase();
    throw error;
  }
  const parts = [membership, lease, repair, scrub, copies, inventory, orphans];
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

/** Migrates the store, waiting for a database that is not up yet. */
async function readyStore(store: Store, clock: Clock, log: Logger): Promise<void> {
  const endMs = clock.monotonicMs() + storeWaitMs;
  for (let told = false; ; told = true) {
    try {
      await store.migrate();
      return;
    } catch (error) {
      if (!(error instanceof GitmeshError) || error.code !== "store-unavailable") throw error;
      if (clock.monotonicMs() > endMs)
        throw new Error(`The metadata store does not answer: ${messageOf(error)}`, { cause: error });
      if (!told) log.warn({ error: messageOf(error) }, "waiting for the metadata store");
      await clock.sleep(storeRetryMs);
    }
  }
}
