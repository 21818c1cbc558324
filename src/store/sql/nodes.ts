/** Repository servers as records: heartbeats, lists, removal. Registration is in registration.ts. */
import { sql } from "kysely";
import { crashPoint } from "../../base/crash-point.ts";
import { GitmeshError } from "../../base/errors.ts";
import type { Heartbeat, NodeRecord } from "../store.ts";
import { chunksOf } from "./chunks.ts";
import type { Database } from "./database.ts";
import { lockRepositories, refreshHealth } from "./repository-lock.ts";
import { nodeOf } from "./rows.ts";
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
    if (suspects !== undefined) await this.#verification.request(id, suspects.repositoryIds, suspects.verifiedBeforeMs);
    return true;
  }

  async list(): Promise<readonly NodeRecord[]> {
    const rows = await this.#database.read((db) =>
      db.selectFrom("nodes").selectAll().orderBy("registered_ms").orderBy("id").execute(),
    );
    return rows.map(nodeOf);
  }

  remove(id: string): Promise<void> {
    return this.#database.write(
      async (trx) => {
        const { numDeletedRows } = await trx.deleteFrom("nodes").where("id", "=", id).executeTakeFirst();
        if (numDeletedRows === 0n) throw new GitmeshError("node-not-found", `no repository server has the id ${id}`);
        const replicas = await trx.selectFrom("replicas").select("repository_id").where("node_id", "=", id).execute();
        const repositoryIds = replicas.map(({ repository_id }) => repository_id);
        await lockRepositories(this.#database, trx, repositoryIds);
        await trx.deleteFrom("replicas").where("node_id", "=", id).execute();
        await refreshHealth(trx, repositoryIds);
        crashPoint("node-removal.rows-deleted");
      },
      { idempotent: false },
    );
  }
}

/** A number as part of the statement: PostgreSQL would take a parameter inside CASE for text. */
export function integer(value: number) {
  if (!Number.isSafeInteger(value)) throw new RangeError(`not an integer: ${value}`);
  return sql.lit(value);
}
