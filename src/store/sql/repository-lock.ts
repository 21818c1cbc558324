/**
 * The repository's row is the lock for everything about it: refs, replicas, health flags. Whoever changes those takes
 * it first, several in order of id.
 */
import { sql, type Selectable } from "kysely";
import type { Database, Executor } from "./database.ts";
import { chunksOf } from "./chunks.ts";
import type { RepositoryTable } from "./schema.ts";

/** The row as it is once the lock is held; undefined when there is no such repository. */
export function lockRepository(
  database: Database,
  trx: Executor,
  id: string,
): Promise<Selectable<RepositoryTable> | undefined> {
  // On SQLite the transaction is the only one that writes.
  const rowLocks = database.engine.kind !== "sqlite";
  return trx
    .selectFrom("repositories")
    .selectAll()
    .where("id", "=", id)
    .$if(rowLocks, (query) => query.forUpdate())
    .executeTakeFirst();
}

/** Locks those that exist. */
export async function lockRepositories(database: Database, trx: Executor, ids: readonly string[]): Promise<void> {
  if (database.engine.kind === "sqlite") return;
  for (const chunk of chunksOf([...new Set(ids)].toSorted())) {
    await trx.selectFrom("repositories").select("id").where("id", "in", chunk).orderBy("id").forUpdate().execute();
  }
}

/**
 * Brings the flags `degraded` and `unhealthy` up to date after a change of replicas or of how many are wanted. A READY
 * replica with something wrong about it (damaged, but the only copy) does not count.
 * The rows must be locked: otherwise two changes could each miss the other's.
 */
export async function refreshHealth(trx: Executor, ids: readonly string[]): Promise<void> {
  const all = sql`(select count(*) from replicas where replicas.repository_id = repositories.id)`;
  const ready = sql`(select count(*) from replicas where replicas.repository_id = repositories.id
    and replicas.state = 'READY' and replicas.reason = '')`;
  for (const chunk of chunksOf([...new Set(ids)].toSorted())) {
    await trx
      .updateTable("repositories")
      .set({
        degraded: sql<number>`case when ${ready} < replicas_wanted then 1 else 0 end`,
        unhealthy: sql<number>`case when ${ready} = replicas_wanted and ${all} = replicas_wanted then 0 else 1 end`,
      })
      .where("id", "in", chunk)
      .execute();
  }
}
