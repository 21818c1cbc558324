/**
 * SQLite through node:sqlite: one writing connection and some reading ones on a file in WAL mode, so that a long read
 * does not hold up a push. Calls are synchronous, so a lock held by another connection of this process must never be
 * waited for inside SQLite: `busyMs` is short and database.ts tries again after giving way to the event loop.
 */
import { statSync } from "node:fs";
import path from "node:path";
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { Kysely, SqliteAdapter, SqliteIntrospector, SqliteQueryCompiler } from "kysely";
import type { Clock } from "../../base/clock.ts";
import { makeDirectoryDurably } from "../../base/durable-directory.ts";
import { GitmeshError, messageOf } from "../../base/errors.ts";
import type { Engine, ErrorKind } from "./engine.ts";
import { SessionPool, type PoolLimits } from "./pool.ts";
import type { Schema } from "./schema.ts";
import { ConnectionLostError, type Session, type SessionResult } from "./session.ts";

const busyMs = 5;
/** Opening may have to recover the log that a killed process left. */
const openBusyMs = 5000;
const statementsMax = 200;
/** Longer statements are those of chunks, of many lengths: not worth keeping. */
const statementKeptMax = 2000;
const readersMax = 4;

/** Opens the file, making its directory. Throws "store-unavailable" when it cannot. */
export function openSqlite(file: string, limits: PoolLimits, clock: Clock): Engine {
  const memory = file === ":memory:";
  const place = memory ? undefined : new FilePlace(file);
  let first: Session | undefined;
  try {
    if (!memory) makeDirectoryDurably(path.dirname(path.resolve(file)));
    const session = new SqliteSession(file, false, place);
    session.refuseReadOnly();
    first = session;
  } catch (error) {
    throw new GitmeshError("store-unavailable", `cannot open the SQLite database ${file}: ${messageOf(error)}`, {
      cause: error,
    });
  }
  const openWriter = async (): Promise<Session> => {
    const session = first ?? (memory ? undefined : new SqliteSession(file, false, place));
    first = undefined;
    if (session === undefined) throw new ConnectionLostError("the database in memory is gone");
    return session;
  };
  const openReader = async (): Promise<Session> => new SqliteSession(file, true, place);
  const writers = new SessionPool(openWriter, { ...limits, sessionsMax: 1 }, clock);
  const readers = memory ? writers : new SessionPool(openReader, { ...limits, sessionsMax: readersMax }, clock);
  return sqliteEngine(writers, readers);
}

/** An engine over anything whose sessions understand SQLite's SQL. */
export function sqliteEngine(writers: SessionPool, readers: SessionPool): Engine {
  const writer = kyselyOver(writers);
  const reader = readers === writers ? writer : kyselyOver(readers);
  return {
    kind: "sqlite",
    name: "SQLite",
    writer,
    reader,
    beginWrite: ["begin immediate"],
    beginSnapshot: ["begin"],
    errorKind: sqliteErrorKind,
    pools: [...new Set([writers, readers])],
    // A file answers or refuses, each statement for itself.
    probe: undefined,
  };
}

/** Kysely over a pool of sessions that understand SQLite's SQL. */
export function kyselyOver(pool: SessionPool): Kysely<Schema> {
  return new Kysely<Schema>({
    dialect: {
      createDriver: () => pool,
      createAdapter: () => new PooledSqliteAdapter(),
      createQueryCompiler: () => new SqliteQueryCompiler(),
      createIntrospector: (db) => new SqliteIntrospector(db),
    },
  });
}

/**
 * Kysely takes SQLite for a single connection and puts a lock of its own around it, which would let readers wait for
 * each other and which it never opens again once a connection could not be had. The pool is what bounds connections.
 */
class PooledSqliteAdapter extends SqliteAdapter {
  override get supportsMultipleConnections(): boolean {
    return true;
  }
}

/**
 * Whether the path is still the file that this process opened first. SQLite itself goes on with a file that was deleted or
 * exchanged under it, and all that is committed to it is gone with the process.
 */
class FilePlace {
  readonly #file: string;
  #opened: string | undefined;

  constructor(file: string) {
    this.#file = file;
  }

  /** Throws ConnectionLostError when another file, or none, is there by now. */
  check(): void {
    if (this.#opened === undefined || fileAt(this.#file) === this.#opened) return;
    throw new ConnectionLostError(`${this.#file} was deleted or replaced while it was in use`);
  }

  opened(): void {
    this.#opened ??= fileAt(this.#file);
  }
}

/** Which file a path leads to; undefined where there is none. */
function fileAt(file: string): string | undefined {
  try {
    const found = statSync(file, { throwIfNoEntry: false });
    return found === undefined ? undefined : `${found.dev} ${found.ino}`;
  } catch (error) {
    throw new ConnectionLostError(`${file} cannot be looked at: ${messageOf(error)}`);
  }
}

class SqliteSession implements Session {
  readonly #database: DatabaseSync;
  readonly #place: FilePlace | undefined;
  readonly #log: string;
  /** The write-ahead log that this session began with: it lives at least as long as the session. */
  #openedLog: string | undefined;
  /** Compiled statements by text, least recently used first. */
  readonly #statements = new Map<string, StatementSync>();

  constructor(file: string, readsOnly: boolean, place: FilePlace | undefined) {
    // Opening would make a new file.
    place?.check();
    this.#place = place;
    this.#log = `${file}-wal`;
    this.#database = new DatabaseSync(file, { timeout: openBusyMs, enableForeignKeyConstraints: true });
    try {
      this.#database.exec("pragma journal_mode = wal; pragma synchronous = full;");
      if (readsOnly) this.#database.exec("pragma query_only = 1");
      this.#database.exec(`pragma busy_timeout = ${busyMs}`);
      place?.opened();
    } catch (error) {
      this.#database.close();
      throw error;
    }
  }

  get broken(): boolean {
    return !this.#database.isOpen;
  }

  async execute(sql: string, parameters: readonly unknown[]): Promise<SessionResult> {
    if (!this.#database.isTransaction) this.#checkFiles();
    const statement = this.#prepare(sql);
    // What Kysely hands over was typed against the schema: strings, numbers, null and bytes.
    const values = parameters as readonly SQLInputValue[];
    if (statement.columns().length > 0) return { rows: statement.all(...values), affectedRows: undefined };
    return { rows: [], affectedRows: Number(statement.run(...values).changes) };
  }

  /** Throws when the file or its disk is read-only. */
  refuseReadOnly(): void {
    try {
      // Only a write shows it.
      this.#database.exec("begin immediate; create table write_probe (x); rollback");
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec("rollback");
      // Locked by another is no reason to give up.
      if (sqliteErrorKind(error) === "refused") throw error;
    }
  }

  close(): void {
    this.#statements.clear();
    if (this.#database.isOpen) this.#database.close();
  }

  /** Throws ConnectionLostError when what would be written is in no file that anybody opens again. */
  #checkFiles(): void {
    if (this.#place === undefined) return;
    this.#place.check();
    const log = fileAt(this.#log);
    this.#openedLog ??= log;
    if (this.#openedLog === log) return;
    throw new ConnectionLostError(`${this.#log} was deleted or replaced while it was in use`);
  }

  #prepare(sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known !== undefined) {
      this.#statements.delete(sql);
      this.#statements.set(sql, known);
      return known;
    }
    const statement = this.#database.prepare(sql);
    if (sql.length > statementKeptMax) return statement;
    this.#statements.set(sql, statement);
    if (this.#statements.size > statementsMax) {
      const [oldest] = this.#statements.keys();
      if (oldest !== undefined) this.#statements.delete(oldest);
    }
    return statement;
  }
}

/** By SQLite's result codes (https://sqlite.org/rescode.html). */
function sqliteErrorKind(error: unknown): ErrorKind {
  if (error instanceof ConnectionLostError) return "unavailable";
  if (!(error instanceof Error) || !("code" in error)) return "other";
  if (error.code === "ERR_INVALID_STATE") return "unavailable";
  if (error.code !== "ERR_SQLITE_ERROR" || !("errcode" in error) || typeof error.errcode !== "number") return "other";
  if (error.errcode === 1555 || error.errcode === 2067) return "duplicate"; // PRIMARYKEY, UNIQUE
  switch (error.errcode & 0xff) {
    case 5: // BUSY
    case 6: // LOCKED
      return "contention";
    case 8: // READONLY
    case 13: // FULL
      return "refused";
    case 10: // IOERR
    case 11: // CORRUPT
    case 14: // CANTOPEN
    case 26: // NOTADB
      return "unavailable";
    default:
      return "other";
  }
}
