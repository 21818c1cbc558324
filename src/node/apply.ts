/**
 * Applying: a replica's own refs follow the committed generations, in order. One change of refs at a time in each
 * replica.
 *
 * Invariant: the recorded generation is never ahead of the refs on disk. A crash in between is healed by applying
 * again, since the updates are absolute values.
 */
import { crashPoint } from "../base/crash-point.ts";
import { GitmeshError } from "../base/errors.ts";
import type { FairLimiter } from "../base/fair-limiter.ts";
import type { ApplyRequest } from "../protocol/node-api.ts";
import type { Git } from "./git.ts";
import { updateRefs } from "./ref-updates.ts";
import type { Repositories } from "./repositories.ts";

export interface ApplyDependencies {
  readonly repositories: Repositories;
  readonly git: Git;
  /** Of its own: what is committed must not wait for clients that are slow to send or take packs. */
  readonly limiter: FairLimiter;
}

export class Applier {
  readonly #deps: ApplyDependencies;
  readonly #queues = new Map<string, Promise<unknown>>();

  constructor(deps: ApplyDependencies) {
    this.#deps = deps;
  }

  /**
   * Returns the generation that the replica is at afterwards. Throws GitmeshError "generation-gap" with the field
   * `generation` when the replica has not reached `request.base`.
   */
  apply(id: string, request: ApplyRequest): Promise<number> {
    return this.exclusive(id, async () => {
      const { generation } = await this.#deps.repositories.record(id);
      if (generation >= request.generation) return generation;
      if (generation < request.base) {
        throw new GitmeshError("generation-gap", `the replica is at generation ${generation}`, {
          fields: { generation },
        });
      }
      await this.#deps.limiter.run(id, undefined, async () => {
        const directory = await this.#deps.repositories.open(id);
        crashPoint("apply.begun");
        const { git, repositories } = this.#deps;
        await updateRefs(git, directory, request.updates, (oid) => repositories.staged.has(id, oid));
        crashPoint("apply.refs-written");
        await this.#deps.repositories.setGeneration(id, request.generation);
        crashPoint("apply.recorded");
      });
      return request.generation;
    });
  }

  /** Runs `work` when no other change of this replica's refs runs. */
  async exclusive<T>(id: string, work: () => Promise<T>): Promise<T> {
    const before = this.#queues.get(id) ?? Promise.resolve();
    const mine = before.then(work);
    const settled = mine.catch(() => {});
    this.#queues.set(id, settled);
    try {
      return await mine;
    } finally {
      if (this.#queues.get(id) === settled) this.#queues.delete(id);
    }
  }
}
