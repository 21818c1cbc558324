/** Replicas' states. Every change of state holds the repository's row, as a commit does: they follow one another. */
import type { Selectable } from "kysely";
import { crashPoint } from "../../base/crash-point.ts";
import { GitmeshError } from "../../base/errors.ts";
import { refNameFromBytes } from "../../protocol/ref-name.ts";
import type { EventKind } from "../activity.ts";
import type { LeavingPosition, LeavingReplica } from "../moves.ts";
import { isComplete } from "../replica.ts";
import type { ReplicaCopy, ReplicaOfNode, ReplicaState } from "../store.ts";
import { chunksOf } from "./chunks.ts";
import type { Database, Executor } from "./database.ts";
import type { Events } from "./events.ts";
import { lockRepository, refreshHealth } from "./repository-lock.ts";
import { replicaOf, replicaStateOf } from "./rows.ts";
import { textOf, type LeavingReplicaTable, type RepositoryTable } from "./schema.ts";

const eventKinds: Readonly<Record<Exclude<ReplicaState, "READY">, EventKind>> = {
  STALE: "replica-stale",
  PREPARING: "replica-preparing",
  QUARANTINED: "replica-quarantined",
};

interface StateChange {
  readonly from: readonly ReplicaState[];
  readonly to: Exclude<ReplicaState, "READY">;
  /** Undefined: as it was. */
  readonly reason: string | undefined;
  readonly nowMs: number;
}

export class Replicas {
  readonly #database: Database;
  readonly #events: Events;

  constructor(database: Database, events: Events) {
    this.#database = database;
    this.#events = events;
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
        const repository = await lockRepository(this.#database, trx, repositoryId);
        if (repository === undefined) return false;
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
        const detail = `complete at generation ${fetchedGeneration}`;
        await this.#tell(trx, repository, "replica-ready", [nodeId], detail);
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
        return repository !== undefined && this.#add(trx, repository, nodeId, reason, nowMs);
      },
      { idempotent: false },
    );
  }

  move(repositoryId: string, fromNodeId: string, toNodeId: string | undefined, nowMs: number): Promise<boolean> {
    return this.#database.write(
      async (trx) => {
        const repository = await lockRepository(this.#database, trx, repositoryId);
        if (repository === undefined) return false;
        const place = { repository_id: repositoryId, node_id: fromNodeId };
        const from = await trx
          .selectFrom("replicas")
          .select("node_id")
          .where("repository_id", "=", repositoryId)
          .where("node_id", "=", fromNodeId)
          .executeTakeFirst();
        if (from === undefined) return false;
        const reason = "moves here";
        if (toNodeId !== undefined && !(await this.#add(trx, repository, toNodeId, reason, nowMs))) return false;
        await forgetLeaving(trx, repositoryId, fromNodeId);
        await trx
          .insertInto("leaving_replicas")
          .values({ ...place, since_ms: nowMs })
          .execute();
        await this.#tell(trx, repository, "replica-moving", [fromNodeId], "leaves once the others are complete");
        return true;
      },
      { idempotent: false },
    );
  }

  cancelMove(repositoryId: string, nodeId: string): Promise<boolean> {
    return this.#database.write(
      async (trx) => {
        const repository = await lockRepository(this.#database, trx, repositoryId);
        if (repository === undefined || !(await forgetLeaving(trx, repositoryId, nodeId))) return false;
        await this.#tell(trx, repository, "replica-moving", [nodeId], "stays: the move was cancelled");
        return true;
      },
      { idempotent: false },
    );
  }

  async listLeaving(limit: number, after: LeavingPosition | undefined): Promise<readonly LeavingReplica[]> {
    const { repositoryId = "", nodeId = "" } = after ?? {};
    const rows = await this.#database.read((db) =>
      db
        .selectFrom("leaving_replicas")
        .selectAll()
        .where("repository_id", ">=", repositoryId)
        .where((eb) => eb.or([eb("repository_id", ">", repositoryId), eb("node_id", ">", nodeId)]))
        .orderBy("repository_id")
        .orderBy("node_id")
        .limit(limit)
        .execute(),
    );
    return rows.map(leavingReplicaOf);
  }

  async leavingOf(repositoryIds: readonly string[]): Promise<readonly LeavingReplica[]> {
    const found: LeavingReplica[] = [];
    for (const ids of chunksOf(repositoryIds)) {
      const rows = await this.#database.read((db) =>
        db.selectFrom("leaving_replicas").selectAll().where("repository_id", "in", ids).execute(),
      );
      found.push(...rows.map(leavingReplicaOf));
    }
    return found;
  }

  remove(repositoryId: string, nodeId: string, readyElsewhere: number, reason: string): Promise<boolean> {
    return this.#database.write(
      async (trx) => {
        const repository = await lockRepository(this.#database, trx, repositoryId);
        if (repository === undefined) return false;
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
        await forgetLeaving(trx, repositoryId, nodeId);
        await refreshHealth(trx, [repositoryId]);
        await this.#tell(trx, repository, "replica-removed", [nodeId], reason);
        crashPoint("remove.row-deleted");
        return true;
      },
      { idempotent: false },
    );
  }

  async countByState(): Promise<
    readonly { readonly nodeId: string; readonly state: ReplicaState; readonly count: number }[]
  > {
    const rows = await this.#database.read((db) =>
      db
        .selectFrom("replicas")
        .select((eb) => ["node_id", "state", eb.fn.countAll<number>().as("count")])
        .groupBy(["node_id", "state"])
        .execute(),
    );
    return rows.map(({ node_id, state, count }) => ({ nodeId: node_id, state: replicaStateOf(state), count }));
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

  async listOfNode(
    nodeId: string,
    limit: number | undefined,
    afterName: string | undefined,
  ): Promise<readonly ReplicaOfNode[]> {
    const rows = await this.#database.read((db) =>
      db
        .selectFrom("replicas")
        .innerJoin("repositories", "repositories.id", "replicas.repository_id")
        .selectAll("replicas")
        .select(["repositories.name", "repositories.default_branch"])
        .where("replicas.node_id", "=", nodeId)
        .$if(afterName !== undefined, (query) => query.where("repositories.name", ">", afterName ?? ""))
        .orderBy("repositories.name")
        .$if(limit !== undefined, (query) => query.limit(limit ?? 0))
        .execute(),
    );
    return rows.map((row) => ({
      name: textOf(row.name),
      defaultBranch: refNameFromBytes(row.default_branch),
      replica: replicaOf(row),
    }));
  }

  /** From an index alone. */
  async repositoryIdsOfNode(nodeId: string, limit: number, afterId: string): Promise<readonly string[]> {
    const rows = await this.#database.read((db) =>
      db
        .selectFrom("replicas")
        .select("repository_id")
        .where("node_id", "=", nodeId)
        .where("repository_id", ">", afterId)
        .orderBy("repository_id")
        .limit(limit)
        .execute(),
    );
    return rows.map(({ repository_id }) => repository_id);
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
      const repository = await lockRepository(this.#database, trx, repositoryId);
      if (repository === undefined) return 0;
      const rows = await trx
        .selectFrom("replicas")
        .select("node_id")
        .where("repository_id", "=", repositoryId)
        .where("node_id", "in", nodeIds)
        .where("state", "in", from)
        .execute();
      if (rows.length === 0) return 0;
      const changed = rows.map(({ node_id }) => node_id);
      await trx
        .updateTable("replicas")
        .set({ state: to, state_since_ms: nowMs, ...(reason === undefined ? {} : { reason }) })
        .where("repository_id", "=", repositoryId)
        .where("node_id", "in", changed)
        .execute();
      await refreshHealth(trx, [repositoryId]);
      await this.#tell(trx, repository, eventKinds[to], changed, reason ?? "catching up");
      crashPoint("replica-state.row-written");
      return changed.length;
    }, options);
  }

  async #add(
    trx: Executor,
    repository: Selectable<RepositoryTable>,
    nodeId: string,
    reason: string,
    nowMs: number,
  ): Promise<boolean> {
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
      .where("repository_id", "=", repository.id)
      .execute();
    if (replicas.some((replica) => replica.node_id === nodeId)) return false;
    await trx
      .insertInto("replicas")
      .values({
        repository_id: repository.id,
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
    await refreshHealth(trx, [repository.id]);
    crashPoint("failover.row-written");
    await this.#tell(trx, repository, "replica-added", [nodeId], reason);
    return true;
  }

  async #tell(
    trx: Executor,
    { id, name }: Selectable<RepositoryTable>,
    kind: EventKind,
    nodeIds: readonly string[],
    detail: string,
  ): Promise<void> {
    const repository = { id, name: textOf(name) };
    await this.#events.append(
      trx,
      nodeIds.map((nodeId) => ({ kind, repository, nodeId, detail })),
    );
  }
}

/** Whether it was to leave. */
async function forgetLeaving(trx: Executor, repositoryId: string, nodeId: string): Promise<boolean> {
  const { numDeletedRows } = await trx
    .deleteFrom("leaving_replicas")
    .where("repository_id", "=", repositoryId)
    .where("node_id", "=", nodeId)
    .executeTakeFirst();
  return numDeletedRows > 0n;
}

function leavingReplicaOf(row: Selectable<LeavingReplicaTable>): LeavingReplica {
  return { repositoryId: row.repository_id, nodeId: row.node_id, sinceMs: row.since_ms };
}
