/** A repository's copy on one node, as the store knows it. */

/** PREPARING: being filled, receives pushes, not read. READY: has every committed object. STALE: missed something. */
export type ReplicaState = "PREPARING" | "READY" | "STALE" | "QUARANTINED";

export interface Replica {
  readonly repositoryId: string;
  readonly nodeId: string;
  readonly state: ReplicaState;
  /** The generation whose refs the replica has confirmed to have applied; -1 when it has none. */
  readonly generation: number;
  /** The newest generation whose objects were not staged on this replica; -1 when it missed none. */
  readonly missedGeneration: number;
  /** For people: why it is not READY, or what is wrong with one that is; otherwise "". */
  readonly reason: string;
  readonly stateSinceMs: number;
  readonly sizeBytes: number;
  /** When it was last found sound; -1: never; -2 (verificationAsked): somebody wants it verified now. */
  readonly verifiedMs: number;
  /** Its copy is to be moved aside and filled anew: nothing in it is trusted. */
  readonly damaged: boolean;
  /** Another when the copy on the disk is another one, or went back in time: what was staged in the one before is gone. */
  readonly copyNumber: number;
}

/** One copy of a replica: what is found out about it says nothing of the one that takes its place. */
export type ReplicaCopy = Pick<Replica, "repositoryId" | "nodeId" | "copyNumber">;

/** READY, and not known to be damaged (as the only copy may be): what another copy may be given up for. */
export function isComplete({ state, reason }: { readonly state: string; readonly reason: string }): boolean {
  return state === "READY" && reason === "";
}
