/** What nodes tell a controller: registrations and heartbeats. */
import type { Clock } from "../base/clock.ts";
import { crashPoint } from "../base/crash-point.ts";
import { GitmeshError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { ControllerSettings } from "../base/settings.ts";
import type { HeartbeatRequest, HeartbeatResponse, RegisterRequest, RegisterResponse } from "../protocol/node-api.ts";
import type { Store } from "../store/store.ts";
import { suspectAgainMs } from "../store/verification.ts";
import type { Membership } from "./membership.ts";
import type { NodeInventory } from "./node-inventory.ts";
import type { Orphans } from "./orphans.ts";

export interface NodeReportsDependencies {
  readonly store: Store;
  readonly membership: Membership;
  readonly orphans: Orphans;
  readonly inventory: NodeInventory;
  readonly settings: ControllerSettings;
  readonly clock: Clock;
  readonly log: Logger;
  readonly suspectAgainMs?: number;
}

const idsInLogMax = 100;

export class NodeReports {
  readonly #deps: NodeReportsDependencies;

  constructor(deps: NodeReportsDependencies) {
    this.#deps = deps;
  }

  /** Throws "node-conflict" or "store-unavailable". */
  async register(registration: RegisterRequest): Promise<RegisterResponse> {
    const { store, membership, orphans, inventory, settings, clock } = this.#deps;
    const { id } = registration;
    const url = registration.url.replace(/\/+$/, "");
    const outcome = await store.registerNode({
      ...registration,
      url,
      nowMs: clock.nowMs(),
      nodeTimeoutMs: settings.nodeTimeoutMs,
      isAlive: (nodeId) => membership.get(nodeId)?.alive,
    });
    if (outcome.kind === "conflict") {
      throw new GitmeshError(
        "node-conflict",
        outcome.otherId === id
          ? `the repository server ${id} is alive at another URL: is this directory a copy of its own?`
          : `a live repository server ${outcome.otherId} has the URL ${url}`,
      );
    }
    crashPoint("register.committed");
    await membership.refresh();
    membership.heard(id);
    orphans.found(id, outcome.orphanRepositoryIds);
    // It may have died in the middle of a change.
    inventory.askSoon(id);
    const { staleRepositoryIds, deletedRepositoryIds, orphanRepositoryIds, aheadRepositoryIds } = outcome;
    if (aheadRepositoryIds.length > 0) {
      this.#deps.log.error(
        { nodeId: id, count: aheadRepositoryIds.length, repositoryIds: aheadRepositoryIds.slice(0, idsInLogMax) },
        "replicas are ahead of the metadata store: see gitmesh repo adopt",
      );
    }
    const counts = {
      replicas: registration.inventory.length,
      stale: staleRepositoryIds.length,
      deleted: deletedRepositoryIds.length,
      orphans: orphanRepositoryIds.length,
    };
    this.#deps.log.info({ nodeId: id, url, ...counts }, "repository server registered");
    return { deletedRepositoryIds: [...deletedRepositoryIds], orphanRepositoryIds: [...orphanRepositoryIds] };
  }

  /** Throws "store-unavailable". */
  async heartbeat({ suspects = [], ...heartbeat }: HeartbeatRequest): Promise<HeartbeatResponse> {
    const { store, membership, clock } = this.#deps;
    const nowMs = clock.nowMs();
    // Before the store is asked, which may take long: one that can be read but not written must not make nodes look dead.
    membership.heard(heartbeat.id);
    const verified = { sinceMs: nowMs - (this.#deps.suspectAgainMs ?? suspectAgainMs), nowMs };
    const known = await store.recordHeartbeat({ ...heartbeat, nowMs, suspects: { repositoryIds: suspects, verified } });
    return known ? { register: false, heartbeatMs: nowMs } : { register: true };
  }
}
