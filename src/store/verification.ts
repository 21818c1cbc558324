/** What the store remembers of the soundness of replicas: part of store.ts's interface. */

import type { ReplicaCopy } from "./replica.ts";

/** From `sinceMs` to `nowMs`, both included. */
export interface Period {
  readonly sinceMs: number;
  readonly nowMs: number;
}

/** A replica that was verified within this time is not verified again on suspicion: clients could ask for it all day. */
export const suspectAgainMs = 600_000;

/** `verifiedMs` of a replica that somebody wants verified now. */
export const verificationAsked = -2;

/** A READY replica whose turn it is to be verified. */
export interface NextToVerify {
  readonly repositoryId: string;
  readonly verifiedMs: number;
}

export interface VerificationProgress {
  /** READY replicas. */
  readonly ready: number;
  /** Of these, verified since. */
  readonly verified: number;
  /** The longest ago; -1: one was never verified, or there is none. */
  readonly oldestMs: number;
}

/**
 * marked: it is STALE and to be filled anew. only-copy: there is no other READY one, so it stays what it was, with the
 * reason. gone: there is no such replica, or it is a person's affair.
 */
export type DamageOutcome = "marked" | "only-copy" | "gone";

export interface VerificationStore {
  /** A READY replica was found sound. */
  recordVerified(copy: ReplicaCopy, nowMs: number): Promise<void>;
  /**
   * The replicas of this node are to be verified next, those excepted that were verified in the period (undefined: none).
   * A time to come was written by a clock that was wrong, and counts as never.
   */
  requestVerification(nodeId: string, repositoryIds: readonly string[], verified: Period | undefined): Promise<void>;
  /**
   * The node's READY replica that was verified the longest ago, if that was not in the period: one that is asked for first,
   * and one that never was as if it had been when it became READY.
   */
  nextToVerify(
    nodeId: string,
    verified: Period,
    exceptRepositoryIds: readonly string[],
  ): Promise<NextToVerify | undefined>;
  verificationProgress(verified: Period): Promise<VerificationProgress>;
  /**
   * A replica is damaged: in a transaction that holds the repository's row, it becomes STALE with nothing that it is
   * believed to have, if another is READY. `byHand`: a person wants it filled anew, also when it is QUARANTINED.
   */
  markDamaged(
    copy: ReplicaCopy,
    reason: string,
    nowMs: number,
    options: { readonly byHand: boolean },
  ): Promise<DamageOutcome>;
  /**
   * This copy was moved aside: the replica is STALE with nothing, and what it gets from here on is in another copy.
   */
  recordMovedAside(copy: ReplicaCopy, nowMs: number): Promise<void>;
}
