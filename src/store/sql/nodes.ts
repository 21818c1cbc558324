/** Repository servers as records: heartbeats, lists, removal. Registration is in registration.ts. */
import { sql } from "kysely";
import { crashPoint } from "../../base/crash-point.ts";
import { GitmeshError } from "../../base/errors.ts";
import type { Heartbeat, NodeRecord } from "../store.ts";
import { chunksOf } from "./chunks.ts";
import type { Database, Executor } from "./database.ts";
import { lockRepositories, refreshHealth } from "./repository-lock.ts";
import { nodeOf } from "./rows.ts";
import { textOf } from "./schema.ts";
import type { Verification } from "./verification.ts";

export class Nodes {
  readonly #database: Database;
  readonly #verification: Verification;

  constructor(database: Database, verification: Verification) {
    this.#database = database;
    this.#verification = verification;
  }

  async recordHeartbeat(heartbeat: Heartbeat): Promise<boolean> {
    const { id, bootId, diskUsage, diskFreeBytes, nowMs, lastHeartbeatMs } = heartbeat;
    const { numUpdatedRows } = await this.#database.statement((db) =>
      db
        .updateTable("nodes")
        .set({ heartbeat_ms: nowMs, disk_usage: diskUsage, disk_free_bytes: diskFreeBytes })
        .where("id", "=", id)
        .where("boot_id", "=", bootId)
        .$if(lastHeartbeatMs !== undefined, (query) => query.where("heartbeat_ms", ">=", lastHeartbeatMs ?? 0))
        .executeTakeFirst(),
    );
    if (numUpdatedRows === 0n) return false;
    for (const chunk of chunksOf(heartbeat.sizes)) {
      const cases = chunk.map(({ repositoryId, sizeBytes }) => sql`when ${repositoryId} then ${integer(sizeBytes)}`);
      await this.#database.statement((db) =>
        db
          .updateTable("replicas")
          .set({ size_bytes: sql<number>`case repository_id ${sql.join(cases, sql` `)} else size_bytes end` })
          .where("node_id", "=", id)
          .where(
            "repository_id",
            "in",
            chunk.map(({ repositoryId }) => repositoryId),
          )
          .execute(),
      );
    }
    const { suspects } = heartbeat;
    if (suspects !== undefined) await this.#verification.request(id, suspects.repositoryIds, suspects.verified);
    return true;
  }

  async list(): Promise<readonly NodeRecord[]> {
    const rows = await this.#database.read((db) =>
      db.selectFrom("nodes").selectAll().orderBy("registered_ms").orderBy("id").execute(),
    );
    return rows.map(nodeOf);
  }

  remove(id: string, { force }: { readonly force: boolean }): Promise<readonly string[]> {
    return this.#database.write(
      async (trx) => {
        const replicas = await trx.selectFrom("replicas").select("repository_id").where("node_id", "=", id).execute();
        const repositoryIds = replicas.map(({ repository_id }) => repository_id);
        await lockRepositories(this.#database, trx, repositoryIds);
        const needing = await namesOfNeeding(trx, id, force);
        if (needing.length > 0) return needing;
        const { numDeletedRows } = await trx.deleteFrom("nodes").where("id", "=", id).executeTakeFirst();
        if (numDeletedRows === 0n) throw new GitmeshError("node-not-found", `no repository server has the id ${id}`);
        await trx.deleteFrom("replicas").where("node_id", "=", id).execute();
        await refreshHealth(trx, repositoryIds);
        crashPoint("node-removal.rows-deleted");
        return [];
      },
      { idempotent: false },
    );
  }
}

/** Repositories that the node's replica records cannot be taken from. */
async function namesOfNeeding(trx: Executor, nodeId: string, force: boolean): Promise<readonly string[]> {
  const completeElsewhere = sql<number>`(select count(*) from replicas other where other.repository_id = mine.repository_id
    and other.node_id <> mine.node_id and other.state = 'READY' and other.reason = '')`;
  const needed = force
    ? sql<number>`(case when mine.state = 'READY' then 1 else 0 end)`
    : sql<number>`repositories.replicas_wanted`;
  const rows = await trx
    .selectFrom("replicas as mine")
    .innerJoin("repositories", "repositories.id", "mine.repository_id")
    .select("repositories.name")
    .where("mine.node_id", "=", nodeId)
    .where(completeElsewhere, "<", needed)
    .orderBy("repositories.name")
    .execute();
  return rows.map(({ name }) => textOf(name));
}

/** A number as part of the statement: PostgreSQL would take a parameter inside CASE for text. */
export function integer(value: number) {
  if (!Number.isSafeInteger(value)) throw new RangeError(`not an integer: ${value}`);
  return sql.lit(value);
}
