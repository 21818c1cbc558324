/**
 * Brings the database's schema up to this program's. Safe when several controllers start at once: one of them holds
 * a lock of the database's own (released with its connection), the others wait and find nothing left to do.
 */
import { sql, type Kysely } from "kysely";
import type { Clock } from "../../base/clock.ts";
import { crashPoint } from "../../base/crash-point.ts";
import { GitmeshError } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import type { Database } from "./database.ts";
import type { Engine } from "./engine.ts";
import { warnOfLostCommits } from "./durability.ts";
import { initial } from "./migrations/0001-initial.ts";
import { verification } from "./migrations/0002-verification.ts";
import { recovery } from "./migrations/0003-recovery.ts";
import { copies } from "./migrations/0004-copies.ts";
import { activity } from "./migrations/0005-activity.ts";
import type { Migration } from "./migrations/migration.ts";
import type { Schema } from "./schema.ts";

/** In order; a migration's version is its place, from 1. */
const migrations: readonly Migration[] = [initial, verification, recovery, copies, activity];
const lockWaitMs = 60_000;
const lockPollMs = 50;
/** "gitmesh" as a number, for PostgreSQL's advisory locks. */
const postgresLock = 0x6769746d;

/** Throws "store-unavailable" when the database is newer than this program or another migration does not end. */
export async function migrate(database: Database, clock: Clock, log: Logger | undefined): Promise<void> {
  const { engine } = database;
  if (log !== undefined) await warnOfLostCommits(database, log);
  if (engine.kind === "sqlite") {
    // One transaction does it all, and SQLite has one writer.
    await database.write((trx) => runMissing(trx, engine, clock, log), { idempotent: true });
    return;
  }
  await database.session(async (db) => {
    await lock(db, engine, clock);
    try {
      await runMissing(db, engine, clock, log);
    } finally {
      await unlock(db, engine);
    }
  });
}

async function runMissing(db: Kysely<Schema>, engine: Engine, clock: Clock, log: Logger | undefined): Promise<void> {
  const integer = engine.kind === "sqlite" ? "integer" : "bigint";
  await sql
    .raw(
      `create table if not exists schema_migrations (version ${integer} not null primary key, ` +
        `name varchar(200) not null, applied_ms ${integer} not null)`,
    )
    .execute(db);
  const { newest } = await db
    .selectFrom("schema_migrations")
    .select((eb) => eb.fn.max<number | null>("version").as("newest"))
    .executeTakeFirstOrThrow();
  const stored = newest ?? 0;
  if (stored > migrations.length) {
    throw new GitmeshError(
      "store-unavailable",
      `the database has schema version ${stored}, but this program knows only those up to ${migrations.length}: run the newer program`,
    );
  }
  for (const [index, migration] of migrations.entries()) {
    const version = index + 1;
    if (version <= stored) continue;
    log?.info({ version, migration: migration.name, engine: engine.name }, "migrating the metadata store");
    await inTransactionWherePossible(db, engine, async () => {
      for (const statement of migration.statements(engine.kind)) {
        await unlessDone(() => sql.raw(statement).execute(db));
        crashPoint("migration.statement-run");
      }
      await db
        .insertInto("schema_migrations")
        .values({ version, name: migration.name, applied_ms: clock.nowMs() })
        .execute();
      crashPoint("migration.recorded");
    });
  }
}

/** A statement that took effect before a crash, where each is committed by itself (MySQL's 1060 and 1061: column, key exists). */
async function unlessDone(run: () => Promise<unknown>): Promise<void> {
  try {
    await run();
  } catch (error) {
    const { errno } = error as { readonly errno?: unknown };
    if (errno !== 1060 && errno !== 1061) throw error;
  }
}

/** PostgreSQL's DDL is transactional; MySQL commits at each statement; on SQLite there is a transaction already. */
async function inTransactionWherePossible(
  db: Kysely<Schema>,
  engine: Engine,
  work: () => Promise<void>,
): Promise<void> {
  if (engine.kind !== "postgres") {
    await work();
    return;
  }
  await sql`start transaction`.execute(db);
  try {
    await work();
  } catch (error) {
    await sql`rollback`.execute(db);
    throw error;
  }
  await sql.raw("commit").execute(db);
}

async function lock(db: Kysely<Schema>, engine: Engine, clock: Clock): Promise<void> {
  const endMs = clock.monotonicMs() + lockWaitMs;
  for (;;) {
    const { rows } =
      engine.kind === "postgres"
        ? await sql<{ taken: boolean }>`select pg_try_advisory_lock(${sql.lit(postgresLock)}) as taken`.execute(db)
        : await sql<{ taken: number }>`select get_lock(concat('gitmesh-', sha1(database())), 0) as taken`.execute(db);
    const taken = rows[0]?.taken;
    if (taken === true || taken === 1) return;
    if (clock.monotonicMs() > endMs)
      throw new GitmeshError("store-unavailable", "another controller's migration does not end");
    await clock.sleep(lockPollMs);
  }
}

async function unlock(db: Kysely<Schema>, engine: Engine): Promise<void> {
  if (engine.kind === "postgres") await sql`select pg_advisory_unlock(${sql.lit(postgresLock)})`.execute(db);
  else await sql`select release_lock(concat('gitmesh-', sha1(database())))`.execute(db);
}
