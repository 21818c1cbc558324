/** What the store remembers of replicas that a person wants elsewhere: part of store.ts's interface. */

export interface LeavingReplica {
  readonly repositoryId: string;
  readonly nodeId: string;
  /** When that was decided. */
  readonly sinceMs: number;
}

/** Where a list of them ended. */
export type LeavingPosition = Pick<LeavingReplica, "repositoryId" | "nodeId">;

export interface MoveStore {
  /**
   * Notes that a replica is to leave its node once the wanted number is READY elsewhere, and adds a STALE one on `toNodeId`
   * if that is given. False if there is no replica on `fromNodeId`, or one on `toNodeId` already.
   */
  moveReplica(repositoryId: string, fromNodeId: string, toNodeId: string | undefined, nowMs: number): Promise<boolean>;
  /** Notes that it is to stay; what was added for it elsewhere becomes surplus. False if it was not to leave. */
  cancelMove(repositoryId: string, nodeId: string): Promise<boolean>;
  /** Replicas that are to leave their node, and have not yet, by repository and node from after `after` on. */
  listLeaving(limit: number, after?: LeavingPosition): Promise<readonly LeavingReplica[]>;
  /** The same of these repositories. */
  leavingOf(repositoryIds: readonly string[]): Promise<readonly LeavingReplica[]>;
  /** Notes that a node's replicas are to be elsewhere, or no longer. Throws "node-not-found". */
  setDraining(id: string, draining: boolean): Promise<void>;
}
