/** Replicas' states. Every change of state holds the repository's row, as a commit does: they follow one another. */
import { crashPoint } from "../../base/crash-point.ts";
import { GitmeshError } from "../../base/errors.ts";
import { refNameFromBytes } from "../../protocol/ref-name.ts";
import { isComplete } from "../replica.ts";
import type { ReplicaCopy, ReplicaOfNode, ReplicaState } from "../store.ts";
import type { Database, Executor } from "./database.ts";
import { lockRepository, refreshHealth } from "./repository-lock.ts";
import { replicaOf } from "./rows.ts";
import { textOf } from "./schema.ts";

interface StateChange {
  readonly from: readonly ReplicaState[];
  readonly to: ReplicaState;
  /** Undefined: as it was. */
  readonly reason: string | undefined;
  readonly nowMs: number;
}

export class Replicas {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async recordApplied(repositoryId: string, generation: number, nodeIds: readonly string[]): Promise<void> {
    if (nodeIds.length === 0) return;
    await this.#database.statement((db) =>
      db
        .updateTable("replicas")
        .set({ generation })
        .where("repository_id", "=", repositoryId)
        .where("node_id", "in", nodeIds)
        .where("generation", "<", generation)
        .execute(),
    );
  }

  async markStale(repositoryId: string, nodeIds: readonly string[], reason: string, nowMs: number): Promise<void> {
    const change: StateChange = { from: ["READY", "PREPARING"], to: "STALE", reason, nowMs };
    await this.#changeState(repositoryId, nodeIds, change, { idempotent: true });
  }

  async quarantine(repositoryId: string, nodeId: string, reason: string, nowMs: number): Promise<void> {
    const change: StateChange = { from: ["READY", "PREPARING", "STALE"], to: "QUARANTINED", reason, nowMs };
    await this.#changeState(repositoryId, [nodeId], change, { idempotent: true });
  }

  async beginCatchUp(repositoryId: string, nodeId: string, nowMs: number): Promise<boolean> {
    const change: StateChange = { from: ["STALE"], to: "PREPARING", reason: undefined, nowMs };
    return (await this.#changeState(repositoryId, [nodeId], change, { idempotent: false })) === 1;
  }

  promote(copy: ReplicaCopy, fetchedGeneration: number, nowMs: number): Promise<boolean> {
    const { repositoryId, nodeId, copyNumber } = copy;
    return this.#database.write(
      async (trx) => {
        if ((await lockRepository(this.#database, trx, repositoryId)) === undefined) return false;
        const replica = await trx
          .selectFrom("replicas")
          .select(["state", "generation", "missed_generation", "copy_number"])
          .where("repository_id", "=", repositoryId)
          .where("node_id", "=", nodeId)
          .executeTakeFirst();
        if (replica?.state !== "PREPARING" || replica.missed_generation > fetchedGeneration) return false;
        // What was fetched is in a copy that is not there any more.
        if (replica.copy_number !== copyNumber) return false;
        await trx
          .updateTable("replicas")
          .set({
            state: "READY",
            reason: "",
            generation: Math.max(replica.generation, fetchedGeneration),
            missed_generation: -1,
            state_since_ms: nowMs,
            damaged: 0,
          })
          .where("repository_id", "=", repositoryId)
          .where("node_id", "=", nodeId)
          .execute();
        await refreshHealth(trx, [repositoryId]);
        crashPoint("promote.row-written");
        return true;
      },
      { idempotent: false },
    );
  }

  /** Throws "node-not-found" for a node that is not registered. */
  add(repositoryId: string, nodeId: string, reason: string, nowMs: number): Promise<boolean> {
    return this.#database.write(
      async (trx) => {
        const repository = await lockRepository(this.#database, trx, repositoryId);
        if (repository === undefined) return false;
        // Locked against its removal.
        const node = await trx
          .selectFrom("nodes")
          .select("id")
          .where("id", "=", nodeId)
          .$if(this.#database.engine.kind !== "sqlite", (query) => query.forUpdate())
          .executeTakeFirst();
        if (node === undefined) throw new GitmeshError("node-not-found", `no repository server has the id ${nodeId}`);
        const replicas = await trx
          .selectFrom("replicas")
          .select(["node_id", "position"])
          .where("repository_id", "=", repositoryId)
          .execute();
        if (replicas.some((replica) => replica.node_id === nodeId)) return false;
        await trx
          .insertInto("replicas")
          .values({
            repository_id: repositoryId,
            node_id: nodeId,
            position: Math.max(-1, ...replicas.map(({ position }) => position)) + 1,
            state: "STALE",
            generation: -1,
            // It has no object of any push so far; generation 0 has none to miss.
            missed_generation: repository.generation === 0 ? -1 : repository.generation,
            reason,
            state_since_ms: nowMs,
            size_bytes: 0,
            verified_ms: -1,
            damaged: 0,
            // There may have been another on this node before.
            copy_number: nowMs,
          })
          .execute();
        await refreshHealth(trx, [repositoryId]);
        crashPoint("failover.row-written");
        return true;
      },
      { idempotent: false },
    );
  }

  remove(repositoryId: string, nodeId: string, readyElsewhere: number): Promise<boolean> {
    return this.#database.write(
      async (trx) => {
        if ((await lockRepository(this.#database, trx, repositoryId)) === undefined) return false;
        const replicas = await trx
          .selectFrom("replicas")
          .select(["node_id", "state", "reason"])
          .where("repository_id", "=", repositoryId)
          .execute();
        const others = replicas.filter((other) => other.node_id !== nodeId && isComplete(other)).length;
        if (others < readyElsewhere || !replicas.some(({ node_id }) => node_id === nodeId)) return false;
        await trx
          .deleteFrom("replicas")
          .where("repository_id", "=", repositoryId)
          .where("node_id", "=", nodeId)
          .execute();
        await refreshHealth(trx, [repositoryId]);
        crashPoint("remove.row-deleted");
        return true;
      },
      { idempotent: false },
    );
  }

  /** For people: why it is not READY yet. */
  async noteReason(repositoryId: string, nodeId: string, reason: string): Promise<void> {
    await this.#database.statement((db) =>
      db
        .updateTable("replicas")
        .set({ reason })
        .where("repository_id", "=", repositoryId)
        .where("node_id", "=", nodeId)
        .where("state", "in", ["STALE", "PREPARING"])
        .execute(),
    );
  }

  async listOfNode(nodeId: string): Promise<readonly ReplicaOfNode[]> {
    const rows = await this.#database.read((db) =>
      db
        .selectFrom("replicas")
        .innerJoin("repositories", "repositories.id", "replicas.repository_id")
        .selectAll("replicas")
        .select(["repositories.name", "repositories.default_branch"])
        .where("replicas.node_id", "=", nodeId)
        .orderBy("repositories.name")
        .execute(),
    );
    return rows.map((row) => ({
      name: textOf(row.name),
      defaultBranch: refNameFromBytes(row.default_branch),
      replica: replicaOf(row),
    }));
  }

  /** Number of replicas that changed. */
  async #changeState(
    repositoryId: string,
    nodeIds: readonly string[],
    { from, to, reason, nowMs }: StateChange,
    options: { readonly idempotent: boolean },
  ): Promise<number> {
    if (nodeIds.length === 0) return 0;
    return this.#database.write(async (trx: Executor) => {
      if ((await lockRepository(this.#database, trx, repositoryId)) === undefined) return 0;
      const { numUpdatedRows } = await trx
        .updateTable("replicas")
        .set({ state: to, state_since_ms: nowMs, ...(reason === undefined ? {} : { reason }) })
        .where("repository_id", "=", repositoryId)
        .where("node_id", "in", nodeIds)
        .where("state", "in", from)
        .executeTakeFirst();
      if (numUpdatedRows > 0n) await refreshHealth(trx, [repositoryId]);
      crashPoint("replica-state.row-written");
      return Number(numUpdatedRows);
    }, options);
  }
}
