/** Which repository server a person means. */
import { GitmeshError } from "../base/errors.ts";
import type { ClusterNode } from "./cluster-node.ts";
import type { Membership } from "./membership.ts";

/** By id, HOST:PORT or URL. Throws "node-not-found". */
export async function findNode(membership: Membership, id: string): Promise<ClusterNode> {
  await membership.refresh();
  const wanted = id.replace(/\/+$/, "");
  const found = membership
    .nodes()
    .find((node) => node.id === wanted || node.url === wanted || new URL(node.url).host === wanted);
  if (found === undefined)
    throw new GitmeshError("node-not-found", `there is no repository server ${id.slice(0, 200)}`);
  return found;
}
