/** MariaDB and MySQL through mysql2. */
import { Kysely, MysqlAdapter, MysqlIntrospector, MysqlQueryCompiler } from "kysely";
import mysql, { type Connection, type QueryError } from "mysql2";
import type { Clock } from "../../base/clock.ts";
import type { Engine, ErrorKind } from "./engine.ts";
import { SessionPool, type PoolLimits } from "./pool.ts";
import type { Schema } from "./schema.ts";
import { connectionLost, ConnectionLostError, type Session, type SessionResult } from "./session.ts";

/**
 * A known SQL mode (values are put into the text by mysql2, which relies on backslash escapes), and READ COMMITTED:
 * the repository's row is the lock, gaps between keys need none.
 */
const sessionSettings =
  "set session sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', session transaction_isolation = 'READ-COMMITTED', " +
  "session innodb_lock_wait_timeout = 5";
/** MariaDB before 11.1 calls the isolation level tx_isolation. */
const sessionSettingsBefore = sessionSettings.replace("transaction_isolation", "tx_isolation");
/** Seconds. A controller that stands still in a transaction must not keep others out of a repository for hours. */
const idleSetting = "set session idle_transaction_timeout = 20";
const unknownVariable = 1193;

export function openMysql(url: string, limits: PoolLimits, clock: Clock): Engine {
  let name = url.startsWith("mariadb:") ? "MariaDB" : "MySQL";
  const open = async (signal: AbortSignal): Promise<Session> => {
    const session = new MysqlSession(url.replace(/^mariadb:/, "mysql:"), limits.acquireMs);
    signal.addEventListener("abort", () => session.close(), { once: true });
    try {
      const { rows } = await session.execute("select version() as version", []);
      name = JSON.stringify(rows).includes("MariaDB") ? "MariaDB" : "MySQL";
      await configure(session, name);
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
      createAdapter: () => new MysqlAdapter(),
      createQueryCompiler: () => new MysqlQueryCompiler(),
      createIntrospector: (kysely) => new MysqlIntrospector(kysely),
    },
  });
  return {
    kind: "mysql",
    get name() {
      return name;
    },
    writer: db,
    reader: db,
    beginWrite: ["start transaction"],
    beginSnapshot: [
      "set transaction isolation level repeatable read",
      "start transaction with consistent snapshot, read only",
    ],
    errorKind: mysqlErrorKind,
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

async function configure(session: Session, name: string): Promise<void> {
  try {
    await session.execute(sessionSettings, []);
  } catch (error) {
    if (!(error instanceof Error) || !("errno" in error) || error.errno !== unknownVariable) throw error;
    await session.execute(sessionSettingsBefore, []);
  }
  if (name === "MariaDB") await session.execute(idleSetting, []);
}

/** It answers, and has no connection to spare. */
function refusesConnections(error: unknown): boolean {
  const cause: unknown = error instanceof ConnectionLostError ? error.cause : error;
  return cause instanceof Error && "errno" in cause && (cause.errno === 1040 || cause.errno === 1203);
}

class MysqlSession implements Session {
  readonly #connection: Connection;
  #broken = false;

  constructor(url: string, connectTimeout: number) {
    this.#connection = mysql.createConnection({ uri: url, connectTimeout, enableKeepAlive: true, charset: "utf8mb4" });
    // An error while nobody waits for an answer, such as the server going away.
    this.#connection.on("error", () => {
      this.#broken = true;
    });
    this.#connection.on("end", () => {
      this.#broken = true;
    });
  }

  get broken(): boolean {
    return this.#broken;
  }

  execute(sql: string, parameters: readonly unknown[]): Promise<SessionResult> {
    return new Promise((resolve, reject) => {
      this.#connection.query({ sql, values: [...parameters] }, (error, result) => {
        if (error !== null) reject(this.#failure(error));
        else if (Array.isArray(result)) resolve({ rows: result, affectedRows: undefined });
        else resolve({ rows: [], affectedRows: result.affectedRows });
      });
    });
  }

  close(): void {
    this.#broken = true;
    this.#connection.destroy();
  }

  /** The server's own answers have an SQL state; anything else ends the connection. */
  #failure(error: QueryError): Error {
    if (!error.fatal && error.sqlState !== undefined) return error;
    this.#broken = true;
    return connectionLost(error);
  }
}

/** By error number (https://mariadb.com/kb/en/mariadb-error-codes/, MySQL's Server Error Reference). */
function mysqlErrorKind(error: unknown): ErrorKind {
  if (error instanceof ConnectionLostError) return "unavailable";
  if (!(error instanceof Error) || !("errno" in error)) return "other";
  switch (error.errno) {
    case 1062: // ER_DUP_ENTRY
      return "duplicate";
    case 1020: // ER_CHECKREAD
    case 1205: // ER_LOCK_WAIT_TIMEOUT
    case 1213: // ER_LOCK_DEADLOCK
      return "contention";
    case 1021: // ER_DISK_FULL
    case 1046: // ER_NO_DB_ERROR: dropped, to be restored
    case 1049: // ER_BAD_DB_ERROR
    case 1114: // ER_RECORD_FILE_FULL
    case 1146: // ER_NO_SUCH_TABLE: not migrated
    case 1290: // ER_OPTION_PREVENTS_STATEMENT: --read-only
    case 1792: // ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
    case 1836: // ER_READ_ONLY_MODE
      return "refused";
    case 1053: // ER_SERVER_SHUTDOWN
    case 1317: // ER_QUERY_INTERRUPTED
    case 1927: // ER_CONNECTION_KILLED
      return "unavailable";
    default:
      return "other";
  }
}
