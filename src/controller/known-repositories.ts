/**
 * Finds repositories for the git endpoints. With the setting `staleReads` it remembers what it found: while the store
 * does not answer, reads then go on with the routes and refs that were read last; writes never do.
 */
import { LRUCache } from "lru-cache";
import { GitmeshError } from "../base/errors.ts";
import type { RepositoryWithReplicas, Store } from "../store/store.ts";

export interface FoundRepository {
  readonly repository: RepositoryWithReplicas;
  /** The store does not answer: this is what it said last. */
  readonly stale: boolean;
}

const rememberedMax = 10_000;

export class KnownRepositories {
  readonly #store: Store;
  readonly #remembered: LRUCache<string, RepositoryWithReplicas> | undefined;

  constructor(store: Store, staleReads: boolean) {
    this.#store = store;
    this.#remembered = staleReads ? new LRUCache({ max: rememberedMax }) : undefined;
  }

  /** Throws "repository-not-found", and "store-unavailable" when nothing is remembered or for a write. */
  async find(name: string, access: "read" | "write"): Promise<FoundRepository> {
    let repository: RepositoryWithReplicas | undefined;
    try {
      repository = await this.#store.findRepository(name);
    } catch (error) {
      const known = this.#remembered?.get(name);
      if (access === "read" && known !== undefined && isStoreUnavailable(error)) {
        return { repository: known, stale: true };
      }
      throw error;
    }
    if (repository === undefined) {
      this.#remembered?.delete(name);
      throw new GitmeshError("repository-not-found", "repository not found");
    }
    this.#remembered?.set(name, repository);
    return { repository, stale: false };
  }
}

export function isStoreUnavailable(error: unknown): boolean {
  return error instanceof GitmeshError && error.code === "store-unavailable";
}
