/**
 * Small regular work for people, by the controller that holds the lease: events of nodes' deaths and returns, samples
 * of the nodes, and dropping what is old.
 */
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { ControllerSettings } from "../base/settings.ts";
import type { Store } from "../store/store.ts";
import type { LeaseKeeper } from "./lease.ts";
import type { Membership } from "./membership.ts";
import { nodeSubject, sampleMs } from "./metrics.ts";

const trimIntervalMs = 600_000;
const sampleKeepMs = 24 * 3_600_000;
/** A failure that was not tried again for this long is over; so is what a controller that died was at. */
const workKeepMs = 600_000;
const eventsMax = 1_000_000;

export interface HousekeepingDependencies {
  readonly store: Store;
  readonly membership: Membership;
  readonly lease: LeaseKeeper;
  readonly settings: ControllerSettings;
  readonly clock: Clock;
  readonly log: Logger;
}

export class Housekeeping {
  readonly #deps: HousekeepingDependencies;
  #sampledMs = 0;
  #trimmedMs = -Infinity;

  constructor(deps: HousekeepingDependencies) {
    this.#deps = deps;
  }

  /** At the pace of the heartbeats, while the lease is held, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { lease, clock, log, settings } = this.#deps;
    while (!signal.aborted) {
      if (lease.isHolder) {
        try {
          await this.visit();
        } catch (error) {
          log.debug({ error: messageOf(error) }, "housekeeping broke off");
        }
      }
      await clock.sleep(settings.heartbeatIntervalMs, signal);
    }
  }

  /** Throws "store-unavailable". */
  async visit(): Promise<void> {
    const { store, membership } = this.#deps;
    for (const { id, alive, toldDead } of membership.nodes()) {
      if (alive === toldDead) await store.tellNodeLife(id, alive);
    }
    await this.#sample();
    await this.#trim();
  }

  async #sample(): Promise<void> {
    const { store, membership, clock } = this.#deps;
    const startMs = Math.floor(clock.nowMs() / sampleMs) * sampleMs;
    if (startMs === this.#sampledMs) return;
    this.#sampledMs = startMs;
    const live = membership.nodes().filter(({ alive }) => alive);
    await store.saveSamples(
      live.map(({ id, diskUsage, loadAverage }) => {
        return { startMs, subject: nodeSubject(id), numbers: JSON.stringify({ diskUsage, loadAverage }) };
      }),
    );
  }

  async #trim(): Promise<void> {
    const { store, settings, clock } = this.#deps;
    if (clock.monotonicMs() - this.#trimmedMs < trimIntervalMs) return;
    this.#trimmedMs = clock.monotonicMs();
    const nowMs = clock.nowMs();
    await store.trimEvents(nowMs - settings.eventKeepMs, eventsMax);
    await store.trimSamples(nowMs - sampleKeepMs);
    await store.trimWork(nowMs - workKeepMs);
  }
}
