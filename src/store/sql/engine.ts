/** What differs between the databases, apart from their SQL types (migrations/). */
import type { Kysely } from "kysely";
import type { SessionPool } from "./pool.ts";
import type { Schema } from "./schema.ts";

/**
 * "duplicate": a unique key is taken. "contention": another transaction was in the way, trying again helps.
 * "unavailable": the database did not answer or cannot work. "refused": it answered that it cannot work now (full,
 * read-only, not migrated), so that what was asked, a COMMIT included, was not done.
 */
export type ErrorKind = "duplicate" | "contention" | "unavailable" | "refused" | "other";

export interface Engine {
  readonly kind: "sqlite" | "mysql" | "postgres";
  /** For people; known for sure once the database answered. */
  readonly name: string;
  readonly writer: Kysely<Schema>;
  /** The same as `writer` but on SQLite, where readers do not wait for the one writer. */
  readonly reader: Kysely<Schema>;
  /** Begins a transaction at READ COMMITTED or better. */
  readonly beginWrite: readonly string[];
  /** Begins a transaction that sees one moment and writes nothing. */
  readonly beginSnapshot: readonly string[];
  errorKind(error: unknown): ErrorKind;
  /** Of `writer` and `reader`. */
  readonly pools: readonly SessionPool[];
  /** Whether the database answers at all; undefined where there is no connection that could fail. */
  readonly probe: ((limitMs: number) => Promise<void>) | undefined;
}
