/** What the store remembers of replicas that a person wants elsewhere: part of store.ts's interface. */

export interface LeavingReplica {
  readonly repositoryId: string;
  readonly nodeId: string;
}

export interface MoveStore {
  /**
   * Notes that a replica is to leave its node once the wanted number is READY elsewhere, and adds a STALE one on `toNodeId`
   * if that is given. False if there is no replica on `fromNodeId`, or one on `toNodeId` already.
   */
  moveReplica(repositoryId: string, fromNodeId: string, toNodeId: string | undefined, nowMs: number): Promise<boolean>;
  /** Replicas that are to leave their node, and have not yet. */
  listLeaving(limit: number): Promise<readonly LeavingReplica[]>;
  /** Notes that a node's replicas are to be elsewhere, or no longer. Throws "node-not-found". */
  setDraining(id: string, draining: boolean): Promise<void>;
}
