/** Which repository server a person means. */
import { GitmeshError } from "../base/errors.ts";
import type { ClusterNode } from "./cluster-node.ts";
import type { Membership } from "./membership.ts";

/** By id, HOST:PORT or URL. Throws "node-not-found". */
export async function findNode(membership: Membership, id: string): Promise<ClusterNode> {
  await membership.refresh();
  return nodeNamed(membership.nodes(), id);
}

/** The same among these. */
export function nodeNamed(nodes: readonly ClusterNode[], wanted: string): ClusterNode {
  const found = nodes.find((node) => node.id === wanted || isUrlOf(node.url, wanted));
  if (found === undefined) {
    throw new GitmeshError("node-not-found", `there is no repository server ${wanted.slice(0, 200)}`);
  }
  return found;
}

/** Whether a person means this URL of a node, which has no trailing slash: by it, or by its HOST:PORT. */
export function isUrlOf(url: string, wanted: string): boolean {
  const trimmed = wanted.replace(/\/+$/, "");
  return url === trimmed || (URL.canParse(url) && new URL(url).host === trimmed);
}
