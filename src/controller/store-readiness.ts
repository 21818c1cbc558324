/** Until the store has the schema of this program, nothing that needs it is served. */
import type { Clock } from "../base/clock.ts";
import { GitmeshError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Store } from "../store/store.ts";
import { isStoreUnavailable } from "./known-repositories.ts";

export interface StoreReadinessOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
}

/** How long a database is waited for that answers but cannot be used: another's migration, a newer schema. */
const unusableMs = 60_000;
const retryMs = 500;

export class StoreReadiness {
  readonly #options: StoreReadinessOptions;
  #ready = false;

  constructor(options: StoreReadinessOptions) {
    this.#options = options;
  }

  /** Throws "store-unavailable" until `prepare` is done. */
  require(): void {
    if (!this.#ready)
      throw new GitmeshError("store-unavailable", "the metadata store is not ready yet; try again shortly");
  }

  /**
   * Migrates the store and calls `begin`; a database that is not up is waited for. Throws one sentence for one that
   * cannot be used.
   */
  async prepare(begin: () => Promise<void>): Promise<void> {
    const { store, clock, log } = this.#options;
    let unusableSinceMs: number | undefined;
    for (let told: "waits" | "unusable" | undefined; ;) {
      try {
        await store.migrate();
        await begin();
        this.#ready = true;
        return;
      } catch (error) {
        if (!isStoreUnavailable(error)) throw error;
        const reason = reasonOf(error);
        const state = (await answers(store)) ? "unusable" : "waits";
        if (state !== told) log.warn({ error: reason }, "waiting for the metadata store");
        told = state;
        if (state === "unusable") unusableSinceMs ??= clock.monotonicMs();
        else unusableSinceMs = undefined;
        if (clock.monotonicMs() - (unusableSinceMs ?? Infinity) > unusableMs)
          throw new Error(`The metadata store cannot be used: ${reason}`, { cause: error });
        await clock.sleep(retryMs);
      }
    }
  }
}

async function answers(store: Store): Promise<boolean> {
  try {
    await store.ping();
    return true;
  } catch {
    return false;
  }
}

/** The database's own words where there are any, as for a wrong password. */
function reasonOf(error: unknown): string {
  let deepest = error;
  while (deepest instanceof Error && deepest.cause !== undefined) deepest = deepest.cause;
  return messageOf(deepest);
}
