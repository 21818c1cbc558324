/** Steps of the background repair, for people: under way with their progress, or failed with the reason. */
import type { WorkKind, WorkRecord } from "../activity.ts";
import type { Database } from "./database.ts";
import { textOf } from "./schema.ts";

const detailCharactersMax = 1000;

export class Work {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  save({ repositoryId, nodeId, ...work }: WorkRecord): Promise<void> {
    const row = {
      repository_name: work.repositoryName,
      kind: work.kind,
      state: work.state,
      started_ms: work.startedMs,
      updated_ms: work.updatedMs,
      progress: work.progress,
      detail: work.detail.slice(0, detailCharactersMax),
      failures: work.failures,
    };
    return this.#database.write(
      async (trx) => {
        const { numUpdatedRows } = await trx
          .updateTable("work")
          .set(row)
          .where("repository_id", "=", repositoryId)
          .where("node_id", "=", nodeId)
          .executeTakeFirst();
        if (numUpdatedRows > 0n) return;
        await trx
          .insertInto("work")
          .values({ ...row, repository_id: repositoryId, node_id: nodeId })
          .execute();
      },
      { idempotent: true, retryDuplicates: true },
    );
  }

  async remove(repositoryId: string, nodeId: string): Promise<void> {
    await this.#database.statement((db) =>
      db.deleteFrom("work").where("repository_id", "=", repositoryId).where("node_id", "=", nodeId).execute(),
    );
  }

  async list(limit: number): Promise<readonly WorkRecord[]> {
    const rows = await this.#database.read((db) =>
      db
        .selectFrom("work")
        .selectAll()
        // "running" before "failed".
        .orderBy("state", "desc")
        .orderBy("updated_ms", "desc")
        .limit(limit)
        .execute(),
    );
    return rows.map((row) => ({
      repositoryId: row.repository_id,
      nodeId: row.node_id,
      repositoryName: textOf(row.repository_name),
      // Written by `save` and by nothing else.
      kind: row.kind as WorkKind,
      state: row.state as WorkRecord["state"],
      startedMs: row.started_ms,
      updatedMs: row.updated_ms,
      progress: row.progress,
      detail: row.detail,
      failures: row.failures,
    }));
  }

  async trim(beforeMs: number): Promise<void> {
    await this.#database.statement((db) => db.deleteFrom("work").where("updated_ms", "<", beforeMs).execute());
  }
}
