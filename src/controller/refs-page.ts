/** A page of a repository's branches or tags: refs from the store, what their commits are from a replica. */
import { GitmeshError, messageOf } from "../base/errors.ts";
import type { RefsView } from "../protocol/activity-api.ts";
import type { CommitSummary } from "../protocol/node-api.ts";
import { refNameText, type ObjectId, type RefName } from "../protocol/ref-name.ts";
import type { RefQuery, RepositoryWithReplicas, Store } from "../store/store.ts";
import type { Membership } from "./membership.ts";
import type { NodeClient } from "./node-client.ts";
import { NodeCallError } from "./node-call-error.ts";
import { routeRead } from "./router.ts";

export interface RefsPageDependencies {
  readonly store: Store;
  readonly membership: Membership;
  readonly nodeClient: NodeClient;
}

/** Throws "store-unavailable"; that no replica can be asked is part of the answer. */
export async function refsPage(
  deps: RefsPageDependencies,
  found: RepositoryWithReplicas,
  query: RefQuery,
): Promise<RefsView> {
  const { id } = found.repository;
  const refs = await deps.store.listRefs(id, { ...query, limit: query.limit + 1 });
  const page = refs.slice(0, query.limit);
  const oids = [...new Set(page.map(({ oid, peeled }) => peeled ?? oid))];
  const commits = await commitsOf(deps, found, oids);
  const last = page.at(-1);
  return {
    total: await deps.store.countRefs(id, query.prefix),
    items: page.map(({ name, oid, peeled }) => {
      const commit = commits?.get(peeled ?? oid);
      return {
        name: refNameText(name.slice(query.prefix.length)),
        id: oid,
        commit:
          commit === undefined
            ? null
            : {
                id: commit.oid,
                author: commit.author,
                email: commit.email,
                at: commit.authoredS * 1000,
                subject: commit.subject,
              },
      };
    }),
    next: refs.length > page.length && last !== undefined ? encodeRefCursor(last.name) : null,
    commits: commits !== undefined,
  };
}

/** undefined when no replica could be asked. */
async function commitsOf(
  { membership, nodeClient }: RefsPageDependencies,
  { repository, replicas }: RepositoryWithReplicas,
  oids: readonly ObjectId[],
): Promise<ReadonlyMap<ObjectId, CommitSummary> | undefined> {
  if (oids.length === 0) return new Map();
  for (const { nodeId, url } of routeRead(replicas, membership.nodes(), 0).candidates) {
    try {
      const commits = await nodeClient.commits(url, repository.id, oids);
      return new Map(commits.map((commit) => [commit.oid, commit]));
    } catch (error) {
      if (error instanceof NodeCallError && error.unreachable) membership.reportFailure(nodeId, messageOf(error));
    }
  }
  return undefined;
}

/** Names are bytes, a character each. */
function encodeRefCursor(name: RefName): string {
  return Buffer.from(name, "latin1").toString("base64url");
}

/** Throws "bad-request". */
export function decodeRefCursor(cursor: string): RefName {
  const name = Buffer.from(cursor, "base64url").toString("latin1");
  if (!name.startsWith("refs/")) throw new GitmeshError("bad-request", "the cursor is not one that this list gave");
  return name;
}
