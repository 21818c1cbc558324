/**
 * Makes a repository: directories on its nodes first, then the record in the store, which is the decision. A directory
 * without a record is an orphan, moved aside when it is known that there will be none.
 */
import type { Clock } from "../base/clock.ts";
import { crashPoint } from "../base/crash-point.ts";
import { GitmeshError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { writeQuorumOf, type ControllerSettings } from "../base/settings.ts";
import type { ReplicaDescription } from "../protocol/node-api.ts";
import type { RefName } from "../protocol/ref-name.ts";
import type { RepositoryWithReplicas, Store } from "../store/store.ts";
import type { ClusterNode } from "./cluster-node.ts";
import type { Membership } from "./membership.ts";
import type { NodeClient } from "./node-client.ts";
import { NodeCallError } from "./node-call-error.ts";
import { rankNodes } from "./placement.ts";

export interface CreationDependencies {
  readonly store: Store;
  readonly nodeClient: NodeClient;
  readonly membership: Membership;
  readonly settings: ControllerSettings;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface RepositoryRequest {
  readonly name: string;
  readonly objectFormat: "sha1" | "sha256";
  readonly defaultBranch: RefName;
  readonly description: string;
  readonly replicas: number;
}

export class RepositoryCreation {
  readonly #deps: CreationDependencies;
  /** Replicas that this controller has given to each node: what the nodes' disk use does not show. */
  readonly #placed = new Map<string, number>();

  constructor(deps: CreationDependencies) {
    this.#deps = deps;
  }

  /** Throws "repository-exists", "not-enough-nodes" and "store-unavailable". */
  async create(request: RepositoryRequest): Promise<RepositoryWithReplicas> {
    const { store, membership, settings, clock } = this.#deps;
    const exists = new GitmeshError("repository-exists", `there is a repository ${request.name}`);
    if ((await store.findRepository(request.name)) !== undefined) throw exists;
    let ranked = this.#rank();
    if (ranked.length < request.replicas) {
      await membership.refresh();
      ranked = this.#rank();
    }
    if (ranked.length < request.replicas) {
      const detail = `${request.replicas} repository servers with room are needed, there are ${ranked.length}`;
      throw new GitmeshError("not-enough-nodes", detail);
    }
    const { name, objectFormat, defaultBranch, description } = request;
    const replica: ReplicaDescription = { id: clock.uuid(), name, objectFormat, defaultBranch, description };
    const created = await this.#createReplicas(replica, ranked, request.replicas);
    crashPoint("create.replicas-made");
    const needed = writeQuorumOf(request.replicas, settings.writeQuorum);
    if (created.length < needed) {
      await this.#retire(replica.id, created, "its creation failed");
      const detail = `only ${created.length} of the ${needed} repository servers needed could create it`;
      throw new GitmeshError("not-enough-nodes", detail);
    }
    // The places of those that are down are filled when they return.
    const missing = ranked.filter((node) => !created.includes(node)).slice(0, request.replicas - created.length);
    const placements = [
      ...created.map(({ id }) => ({ nodeId: id, created: true })),
      ...missing.map(({ id }) => ({ nodeId: id, created: false })),
    ];
    try {
      await store.createRepository({
        ...replica,
        replicasWanted: request.replicas,
        createdMs: clock.nowMs(),
        placements,
      });
    } catch (error) {
      // Only when it is certain that there is no record: after a lost answer there may be one.
      if (error instanceof GitmeshError && error.code === "repository-exists") {
        await this.#retire(replica.id, created, "another repository of this name was created at the same time");
      } else if (error instanceof GitmeshError && error.fields["outcome"] !== "unknown") {
        await this.#retire(replica.id, created, "its creation failed");
      }
      throw error;
    }
    crashPoint("create.committed");
    for (const { nodeId } of placements) this.#placed.set(nodeId, (this.#placed.get(nodeId) ?? 0) + 1);
    const found = await store.getRepository(replica.id);
    if (found === undefined) throw new GitmeshError("repository-not-found", `${request.name} was deleted again`);
    return found;
  }

  #rank(): readonly ClusterNode[] {
    const { membership, settings, clock } = this.#deps;
    return rankNodes(membership.nodes(), {
      diskUsageMax: settings.diskUsageMax,
      exclude: new Set(),
      placedOn: (nodeId) => this.#placed.get(nodeId) ?? 0,
      random: () => clock.random(),
    });
  }

  /** On `wanted` of the live nodes; one that fails is replaced by the next. Returns those that have it now. */
  async #createReplicas(
    replica: ReplicaDescription,
    ranked: readonly ClusterNode[],
    wanted: number,
  ): Promise<ClusterNode[]> {
    const candidates = ranked.filter((node) => node.alive);
    const created: ClusterNode[] = [];
    while (created.length < wanted && candidates.length > 0) {
      const batch = candidates.splice(0, wanted - created.length);
      const done = await Promise.all(batch.map((node) => this.#createReplica(replica, node)));
      created.push(...batch.filter((_node, index) => done[index]));
    }
    return created;
  }

  async #createReplica(replica: ReplicaDescription, node: ClusterNode): Promise<boolean> {
    const { nodeClient, membership, log } = this.#deps;
    try {
      await nodeClient.createReplica(node.url, replica);
      crashPoint("create.node-made");
      return true;
    } catch (error) {
      log.warn({ nodeId: node.id, repository: replica.name, error: messageOf(error) }, "could not create a replica");
      if (error instanceof NodeCallError && error.unreachable) membership.reportFailure(node.id, error);
      return false;
    }
  }

  async #retire(repositoryId: string, nodes: readonly ClusterNode[], reason: string): Promise<void> {
    await Promise.all(
      nodes.map(async (node) => {
        try {
          await this.#deps.nodeClient.retireReplica(node.url, repositoryId, { reason });
          crashPoint("create.node-taken-back");
        } catch (error) {
          // It is listed as an orphan when its node registers.
          this.#deps.log.warn({ nodeId: node.id, repositoryId, error: messageOf(error) }, "could not retire a replica");
        }
      }),
    );
  }
}
