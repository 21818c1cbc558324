/**
 * Adoption: the refs of a repository are taken over from its replicas, when the store has lost some of them (it was
 * restored from an old backup) or all of the repository. Only ever by a person's decision (docs/decisions/0008).
 */
import { v7 as uuid } from "uuid";
import type { Clock } from "../base/clock.ts";
import { GitmeshError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { ControllerSettings } from "../base/settings.ts";
import { repositoryIdSchema } from "../protocol/node-api.ts";
import type { RepositoryWithReplicas, Store } from "../store/store.ts";
import { planAdoption, type AdoptionPlan, type CopyContent, type FoundCopy } from "./adoption-plan.ts";
import type { ClusterNode } from "./cluster-node.ts";
import type { Membership } from "./membership.ts";
import type { NodeClient } from "./node-client.ts";
import { findNode } from "./node-lookup.ts";
import { NodeCallError } from "./node-call-error.ts";
import type { ReplicaCatchUp } from "./replica-catch-up.ts";

export interface AdoptionDependencies {
  readonly store: Store;
  readonly nodeClient: NodeClient;
  readonly membership: Membership;
  readonly catchUp: ReplicaCatchUp;
  readonly settings: ControllerSettings;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A repository that waits for an adoption. */
export interface Adoptable {
  readonly repositoryId: string;
  readonly name: string;
  readonly kind: "behind" | "orphan";
  /** -1: the store does not have it. */
  readonly storeGeneration: number;
  /** The highest that a copy was seen at. */
  readonly seenGeneration: number;
  /** URLs of the nodes with a copy, of an orphan. */
  readonly nodes: readonly string[];
}

export class Adoption {
  readonly #deps: AdoptionDependencies;

  constructor(deps: AdoptionDependencies) {
    this.#deps = deps;
  }

  /** Repositories that are behind their replicas, and those that only the nodes that can be reached know. */
  async list(): Promise<readonly Adoptable[]> {
    const { store } = this.#deps;
    const behind = (await store.listBehind()).map(({ repository }): Adoptable => ({
      repositoryId: repository.id,
      name: repository.name,
      kind: "behind",
      storeGeneration: repository.generation,
      seenGeneration: repository.aheadGeneration,
      nodes: [],
    }));
    const orphans = new Map<string, { name: string; seenGeneration: number; nodes: string[] }>();
    for (const { node, copies } of await this.#copiesOnNodes()) {
      const unknown = new Set(await store.unknownRepositories(copies.map(({ repositoryId }) => repositoryId)));
      for (const { repositoryId: id, name, generation } of copies) {
        if (!unknown.has(id)) continue;
        const orphan = orphans.get(id) ?? { name, seenGeneration: generation, nodes: [] };
        orphan.seenGeneration = Math.max(orphan.seenGeneration, generation);
        orphan.nodes.push(node.url);
        orphans.set(id, orphan);
      }
    }
    const found = [...orphans].map(([repositoryId, { name, seenGeneration, nodes }]): Adoptable => {
      return { repositoryId, name, kind: "orphan", storeGeneration: -1, seenGeneration, nodes };
    });
    return [...behind, ...found].toSorted((one, other) => (one.name < other.name ? -1 : 1));
  }

  /**
   * What would be done. `name` may be a repository's id; `from` is a node's id, HOST:PORT or URL. Reads all copies and
   * proves them complete, which takes its time. Throws "repository-not-found" and "node-not-found".
   */
  async plan(name: string, from: string | undefined): Promise<AdoptionPlan> {
    const { store, membership } = this.#deps;
    await membership.refresh();
    const found = await this.#find(name);
    const refs = found.stored === undefined ? undefined : await store.readRefs(found.repositoryId);
    const copies = await this.#inspect(found.repositoryId, found.stored);
    return planAdoption({
      repositoryId: found.repositoryId,
      name: found.name,
      stored:
        found.stored === undefined || refs === undefined ? undefined : { repository: found.stored.repository, refs },
      copies,
      from: from === undefined ? undefined : (await findNode(membership, from)).id,
    });
  }

  /**
   * Does exactly what was shown: the plan with this digest. Throws "adoption-changed" when it is another by now,
   * "not-adoptable" when it cannot be done. Resolves when every replica that agrees is READY, or could not be made so.
   */
  async adopt(name: string, from: string | undefined, digest: string): Promise<RepositoryWithReplicas> {
    const { store, settings, clock, log } = this.#deps;
    const plan = await this.plan(name, from);
    const { content } = plan;
    if (content === undefined) throw new GitmeshError("not-adoptable", plan.problem);
    const changed = new GitmeshError("adoption-changed", "what the adoption would do has changed since it was shown");
    if (plan.digest !== digest) throw changed;
    const done = await store.adoptRepository({
      repositoryId: plan.repositoryId,
      adoptionId: uuid(),
      expectedGeneration: plan.kind === "orphan" ? undefined : plan.storeGeneration,
      expectedAheadGeneration: plan.aheadGeneration,
      create: {
        name: plan.name,
        objectFormat: content.objectFormat,
        defaultBranch: content.defaultBranch,
        replicasWanted: settings.replicas,
      },
      generation: plan.newGeneration,
      changes: plan.changes,
      nodeIds: plan.copies.filter(({ after }) => after === "READY").map(({ nodeId }) => nodeId),
      refillNodeIds: plan.copies.filter(({ after }) => after === "REFILLED").map(({ nodeId }) => nodeId),
      nowMs: clock.nowMs(),
    });
    if (!done) throw changed;
    log.warn(
      { repository: plan.name, from: plan.storeGeneration, adopted: plan.generation, generation: plan.newGeneration },
      "a repository's refs were adopted from its replicas",
    );
    await this.#fill(plan);
    const adopted = await store.getRepository(plan.repositoryId);
    if (adopted === undefined) throw new GitmeshError("repository-not-found", "it was deleted meanwhile");
    return adopted;
  }

  /** Those that agree prove that they are complete and become READY; the repair does it for those that fail here. */
  async #fill(plan: AdoptionPlan): Promise<void> {
    const { catchUp, log } = this.#deps;
    for (const { nodeId, after } of plan.copies) {
      if (after !== "READY") continue;
      try {
        await catchUp.run(plan.repositoryId, nodeId, new AbortController().signal);
      } catch (error) {
        log.warn(
          { repository: plan.name, nodeId, error: messageOf(error) },
          "a replica is not READY after the adoption",
        );
      }
    }
  }

  async #find(
    name: string,
  ): Promise<{ repositoryId: string; name: string; stored: RepositoryWithReplicas | undefined }> {
    const { store } = this.#deps;
    const isId = repositoryIdSchema.safeParse(name).success;
    const stored = isId ? await store.getRepository(name) : await store.findRepository(name);
    if (stored !== undefined) return { repositoryId: stored.repository.id, name: stored.repository.name, stored };
    const orphans = (await this.list()).filter(
      ({ kind, ...orphan }) => kind === "orphan" && (isId ? orphan.repositoryId : orphan.name) === name,
    );
    const [orphan, another] = orphans;
    if (orphan === undefined) {
      throw new GitmeshError(
        "repository-not-found",
        `neither the store nor a repository server has a repository ${name}`,
      );
    }
    if (another !== undefined) {
      const ids = orphans.map(({ repositoryId }) => repositoryId).join(", ");
      throw new GitmeshError("not-adoptable", `several repositories had the name ${name}: give the id of one, ${ids}`);
    }
    return { repositoryId: orphan.repositoryId, name: orphan.name, stored: undefined };
  }

  /** Every node is asked: a copy may be where the store does not place one. */
  async #inspect(repositoryId: string, stored: RepositoryWithReplicas | undefined): Promise<FoundCopy[]> {
    const nodes = this.#deps.membership.nodes();
    const replicas = stored?.replicas ?? [];
    const found = await Promise.all(
      nodes.map(async (node): Promise<FoundCopy | undefined> => {
        const replica = replicas.find(({ nodeId }) => nodeId === node.id);
        const place = { placed: replica !== undefined, ready: replica?.state === "READY" };
        const copy = { ...(await this.#inspectOn(node, repositoryId)), ...place };
        if (replica?.damaged === true && copy.content !== undefined) {
          return { ...copy, content: { ...copy.content, complete: false }, problem: "it is damaged" };
        }
        return copy.content !== undefined || copy.placed ? copy : undefined;
      }),
    );
    const gone = replicas.filter(({ nodeId }) => !nodes.some(({ id }) => id === nodeId));
    return [
      ...found.filter((copy) => copy !== undefined),
      ...gone.map(({ nodeId, state }) => ({
        nodeId,
        url: "",
        placed: true,
        ready: state === "READY",
        content: undefined,
        problem: "its repository server is gone",
      })),
    ].toSorted((one, other) => (one.url < other.url ? -1 : 1));
  }

  async #inspectOn(node: ClusterNode, repositoryId: string): Promise<Omit<FoundCopy, "placed" | "ready">> {
    const { nodeClient } = this.#deps;
    const { id: nodeId, url } = node;
    const place = { nodeId, url };
    if (!node.alive) return { ...place, content: undefined, problem: "its repository server is dead" };
    try {
      const result = await nodeClient.inspect(url, repositoryId);
      if (result.kind === "node-failed") return { ...place, content: undefined, problem: result.message };
      const refs = result.refs
        .map(([name, oid, peeled]) => ({ name, oid, peeled: peeled ?? undefined }))
        .toSorted((one, other) => (one.name < other.name ? -1 : 1));
      const { name, generation, objectFormat, defaultBranch, complete } = result;
      const content: CopyContent = { name, generation, objectFormat, defaultBranch, complete, refs };
      return { ...place, content, problem: complete ? "" : "lacks objects that its refs reach" };
    } catch (error) {
      const missing = error instanceof NodeCallError && error.code === "replica-not-found";
      return { ...place, content: undefined, problem: missing ? "it has no copy" : messageOf(error) };
    }
  }

  async #copiesOnNodes() {
    const { membership, nodeClient, log } = this.#deps;
    const alive = membership.nodes().filter((node) => node.alive);
    const found = await Promise.all(
      alive.map(async (node) => {
        try {
          return [{ node, copies: (await nodeClient.copies(node.url)).replicas }];
        } catch (error) {
          log.warn({ nodeId: node.id, error: messageOf(error) }, "cannot list a repository server's replicas");
          return [];
        }
      }),
    );
    return found.flat();
  }
}
