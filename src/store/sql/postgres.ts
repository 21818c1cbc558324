/** PostgreSQL through pg. */
import { Kysely, PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler } from "kysely";
import pg from "pg";
import type { Clock } from "../../base/clock.ts";
import type { Engine, ErrorKind } from "./engine.ts";
import { SessionPool, type PoolLimits } from "./pool.ts";
import type { Schema } from "./schema.ts";
import { connectionLost, ConnectionLostError, type Session, type SessionResult } from "./session.ts";

/**
 * Independent of the server's defaults: a COMMIT that is answered is on disk, no wait for a lock is for ever, and a
 * controller that stands still in a transaction does not keep others out of a repository for long.
 */
const sessionSettings = `set session characteristics as transaction isolation level read committed;
  set lock_timeout = '5s';
  set idle_in_transaction_session_timeout = '20s';
  select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'`;
const int8 = 20;

export function openPostgres(url: string, limits: PoolLimits, clock: Clock): Engine {
  const open = async (signal: AbortSignal): Promise<Session> => {
    const session = new PostgresSession(url, limits.acquireMs);
    signal.addEventListener("abort", () => session.close(), { once: true });
    try {
      await session.connect();
      return session;
    } catch (error) {
      session.close();
      throw error;
    }
  };
  const pool = new SessionPool(open, limits, clock);
  const db = new Kysely<Schema>({
    dialect: {
      createDriver: () => pool,
      createAdapter: () => new PostgresAdapter(),
      createQueryCompiler: () => new PostgresQueryCompiler(),
      createIntrospector: (kysely) => new PostgresIntrospector(kysely),
    },
  });
  return {
    kind: "postgres",
    name: "PostgreSQL",
    writer: db,
    reader: db,
    beginWrite: ["start transaction"],
    beginSnapshot: ["start transaction isolation level repeatable read read only"],
    errorKind: postgresErrorKind,
    pools: [pool],
    probe: async (limitMs) => {
      try {
        await pool.probe("select 1", limitMs);
      } catch (error) {
        if (!refusesConnections(error)) throw error;
      }
    },
  };
}

/** It answers, and has no connection to spare (SQL state too_many_connections). */
function refusesConnections(error: unknown): boolean {
  const cause: unknown = error instanceof ConnectionLostError ? error.cause : error;
  return cause instanceof pg.DatabaseError && cause.code === "53300";
}

class PostgresSession implements Session {
  readonly #client: pg.Client;
  #broken = false;

  constructor(url: string, connectMs: number) {
    this.#client = new pg.Client({
      connectionString: url,
      connectionTimeoutMillis: connectMs,
      keepAlive: true,
      types: {
        // Our integers fit into a number; pg gives 64-bit ones as text.
        getTypeParser: (oid: number, format?: "text" | "binary") =>
          // oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- pg's types know the built-in types only
          oid === int8 ? Number : pg.types.getTypeParser(oid, format),
      },
    });
    // An error while nobody waits for an answer, such as the server going away.
    this.#client.on("error", () => {
      this.#broken = true;
    });
    this.#client.on("end", () => {
      this.#broken = true;
    });
  }

  get broken(): boolean {
    return this.#broken;
  }

  async connect(): Promise<void> {
    try {
      await this.#client.connect();
      await this.#client.query(sessionSettings);
    } catch (error) {
      throw connectionLost(error);
    }
  }

  async execute(sql: string, parameters: readonly unknown[]): Promise<SessionResult> {
    let result: pg.QueryResult<object>;
    try {
      result = await this.#client.query<object>(sql, [...parameters]);
    } catch (error) {
      throw this.#failure(error);
    }
    // A transaction in which a statement failed answers COMMIT with ROLLBACK.
    if (sql === "commit" && result.command !== "COMMIT") throw new Error("the transaction was rolled back");
    return { rows: result.rows, affectedRows: result.rowCount ?? undefined };
  }

  close(): void {
    this.#broken = true;
    // Asks politely and does not wait; the socket goes with it.
    this.#client.end().catch(() => {});
    this.#client.connection.stream.destroy();
  }

  /** The server's own answers carry an SQL state; a FATAL one, and anything else, ends the connection. */
  #failure(error: unknown): unknown {
    if (error instanceof pg.DatabaseError && error.severity !== "FATAL" && error.severity !== "PANIC") return error;
    this.#broken = true;
    return connectionLost(error);
  }
}

/** By SQL state (PostgreSQL's manual, appendix A). */
function postgresErrorKind(error: unknown): ErrorKind {
  if (error instanceof ConnectionLostError) return "unavailable";
  if (!(error instanceof pg.DatabaseError) || error.code === undefined) return "other";
  switch (error.code) {
    case "23505": // unique_violation
      return "duplicate";
    case "40001": // serialization_failure
    case "40P01": // deadlock_detected
    case "55P03": // lock_not_available
      return "contention";
    case "25006": // read_only_sql_transaction
    case "3F000": // invalid_schema_name: dropped, to be restored
    case "42P01": // undefined_table: not migrated
      return "refused";
    default:
      // Connection exceptions, insufficient resources, operator intervention, system errors.
      return /^(?:08|53|57|58)/.test(error.code) ? "unavailable" : "other";
  }
}
