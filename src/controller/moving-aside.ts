/**
 * Has a node move a copy aside that nobody wants. A request may arrive late, long after its sender gave up: when the
 * repository was put there again and is READY, say. So the node is asked how the copy was used so far, then the
 * store whether it is wanted, and then the node moves it unless it was used since.
 */
import { NodeCallError } from "./node-call-error.ts";
import type { NodeClient } from "./node-client.ts";

export interface UnwantedCopy {
  /** Of the node. */
  readonly url: string;
  readonly repositoryId: string;
  readonly reason: string;
  /** Asks the store again. */
  readonly isUnwanted: () => Promise<boolean>;
}

/** True when the copy is not there any more, false when it is wanted. Throws NodeCallError, also when it is in use. */
export async function moveAside(nodeClient: NodeClient, copy: UnwantedCopy): Promise<boolean> {
  const { url, repositoryId, reason, isUnwanted } = copy;
  let ifUses: string;
  try {
    ifUses = (await nodeClient.replicaStatus(url, repositoryId)).uses;
  } catch (error) {
    if (error instanceof NodeCallError && error.code === "replica-not-found") return isUnwanted();
    throw error;
  }
  if (!(await isUnwanted())) return false;
  await nodeClient.retireReplica(url, repositoryId, { reason, ifUses });
  return true;
}
