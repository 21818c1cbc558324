/**
 * Verifies one READY replica and does what follows: a damaged one is filled anew from another, one whose refs differ
 * catches up, one that is ahead of the store is kept for a person. Nothing is deleted.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { hashOfRefs, type VerifyRequest, type VerifyResult } from "../protocol/node-api.ts";
import type { Replica, Store } from "../store/store.ts";
import type { Membership } from "./membership.ts";
import type { NodeClient } from "./node-client.ts";
import { NodeCallError } from "./node-call-error.ts";

export interface ReplicaVerificationDependencies {
  readonly store: Store;
  readonly nodeClient: NodeClient;
  readonly membership: Membership;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * only-copy: it is damaged, and there is no other READY one to fill it from. skipped: it is not READY (any more), or is
 * gone.
 */
export type VerificationVerdict = "sound" | "damaged" | "only-copy" | "refs-differ" | "ahead" | "skipped";

type Verified = VerifyResult & { readonly kind: "verified" };

/** In a repository with pushes all the time the replica's refs are asked for again until they are those of one moment. */
const compareAttemptsMax = 10;
const compareAgainMs = 20;

export class ReplicaVerification {
  readonly #deps: ReplicaVerificationDependencies;

  constructor(deps: ReplicaVerificationDependencies) {
    this.#deps = deps;
  }

  /** Takes as long as the node needs to read the whole replica. Throws when the node could not verify it. */
  async run(repositoryId: string, nodeId: string, signal: AbortSignal): Promise<VerificationVerdict> {
    const { store, clock, log } = this.#deps;
    const refs = await this.#compareRefs(repositoryId, nodeId, signal);
    if (refs === undefined) return "skipped";
    const objects = await this.#verify(refs.replica, { ...refs.request, objects: true }, signal);
    const where = { repositoryId, nodeId };
    if (objects.problems.length > 0) {
      const reason = `damaged: ${objects.problems.join("; ")}`.slice(0, 1000);
      const outcome = await store.markDamaged(refs.replica, reason, clock.nowMs(), { byHand: false });
      log.error({ ...where, reason, outcome }, "a replica is damaged");
      return outcome === "marked" ? "damaged" : outcome === "only-copy" ? "only-copy" : "skipped";
    }
    switch (refs.verdict) {
      case "ahead": {
        // And nothing more is committed on top of what the store has lost (adoption.ts).
        await store.noteAhead(repositoryId, nodeId, refs.generation, clock.nowMs());
        log.error({ ...where, generation: refs.generation }, "a replica is ahead of the metadata store");
        return "ahead";
      }
      case "differ": {
        const reason = `its refs are not those of generation ${refs.request.generation}`;
        await store.markStale(repositoryId, [nodeId], reason, clock.nowMs());
        log.error({ ...where, reason }, "a replica's refs differ");
        return "refs-differ";
      }
      case "same":
        await store.recordVerified(refs.replica, clock.nowMs());
        return "sound";
    }
  }

  /** Undefined when there is no such READY replica. */
  async #compareRefs(
    repositoryId: string,
    nodeId: string,
    signal: AbortSignal,
  ): Promise<
    | {
        readonly verdict: "same" | "differ" | "ahead";
        readonly generation: number;
        readonly replica: Replica;
        readonly request: Omit<VerifyRequest, "objects">;
      }
    | undefined
  > {
    const { store, clock } = this.#deps;
    for (let attempt = 1; ; attempt += 1) {
      signal.throwIfAborted();
      const replica = await this.#ready(repositoryId, nodeId);
      if (replica === undefined) return undefined;
      const { generation, refs } = await store.readRefs(repositoryId);
      const refsHash = hashOfRefs(refs.map(({ name, oid }) => [name, oid] as const));
      const request = { generation, refsHash };
      const result = await this.#verify(replica, { ...request, objects: false }, signal);
      if (result.refs !== "not-compared")
        return { verdict: result.refs, generation: result.generation, replica, request };
      if (result.generation > generation) {
        const found = await store.getRepository(repositoryId);
        if (found !== undefined && result.generation > found.repository.generation) {
          return { verdict: "ahead", generation: result.generation, replica, request };
        }
      }
      // Older than it had confirmed: its disk went back in time, or its record is gone.
      if (result.generation < replica.generation) {
        return { verdict: "differ", generation: result.generation, replica, request };
      }
      // It lags behind, which is the repair's affair, or pushes come all the time: its objects count.
      if (attempt >= compareAttemptsMax) return { verdict: "same", generation: result.generation, replica, request };
      await clock.sleep(compareAgainMs, signal);
    }
  }

  async #ready(repositoryId: string, nodeId: string): Promise<Replica | undefined> {
    const found = await this.#deps.store.getRepository(repositoryId);
    return found?.replicas.find((replica) => replica.nodeId === nodeId && replica.state === "READY");
  }

  async #verify(replica: Replica, request: VerifyRequest, signal: AbortSignal): Promise<Verified> {
    const { nodeClient, membership, store, clock } = this.#deps;
    const { repositoryId, nodeId } = replica;
    const node = membership.get(nodeId);
    if (node === undefined) throw new Error("its repository server is gone");
    try {
      const result = await nodeClient.verify(node.url, repositoryId, request, signal);
      if (result.kind === "node-failed") throw new Error(result.message);
      return result;
    } catch (error) {
      if (error instanceof NodeCallError && error.code === "replica-not-found") {
        const reason = "missing on disk";
        await store.markDamaged(replica, reason, clock.nowMs(), { byHand: false });
      }
      if (error instanceof NodeCallError && error.unreachable && !signal.aborted)
        membership.reportFailure(nodeId, error);
      throw error;
    }
  }
}
