/** Opens the metadata store that a database URL names. */
import { systemClock, type Clock } from "../base/clock.ts";
import { GitmeshError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Engine } from "./sql/engine.ts";
import type { PoolLimits } from "./sql/pool.ts";
import { SqlStore } from "./sql/sql-store.ts";
import type { Store } from "./store.ts";

export interface OpenStoreOptions {
  readonly clock?: Clock;
  readonly log?: Logger;
  readonly limits?: Partial<PoolLimits>;
}

/** `statementMs` is longer than the engines wait for a lock. */
const defaultLimits: PoolLimits = { sessionsMax: 10, waitingMax: 1000, acquireMs: 5000, statementMs: 15_000 };

/**
 * `sqlite:FILE` or `sqlite::memory:`, `mysql://`, `mariadb://`, `postgres://` or `postgresql://`. Does not migrate, and
 * connects to a server only with the first call. Throws "store-unavailable" when a SQLite file cannot be opened.
 */
export async function openStore(databaseUrl: string, options: OpenStoreOptions = {}): Promise<Store> {
  const clock = options.clock ?? systemClock;
  const engine = await openEngine(databaseUrl, { ...defaultLimits, ...options.limits }, clock);
  return new SqlStore(engine, clock, options.log);
}

/** Drivers are loaded only when they are used. */
async function openEngine(databaseUrl: string, limits: PoolLimits, clock: Clock): Promise<Engine> {
  const scheme = /^([a-z]+):/.exec(databaseUrl)?.[1] ?? "";
  switch (scheme) {
    case "sqlite":
      return (await import("./sql/sqlite.ts")).openSqlite(databaseUrl.slice("sqlite:".length), limits, clock);
    case "mysql":
    case "mariadb":
      return (await import("./sql/mysql.ts")).openMysql(databaseUrl, limits, clock);
    case "postgres":
    case "postgresql":
      return (await import("./sql/postgres.ts")).openPostgres(databaseUrl, limits, clock);
    default:
      // Not the URL itself: it may hold a password.
      throw new GitmeshError(
        "bad-request",
        "the database URL must begin with sqlite:, mysql://, mariadb:// or postgres://",
      );
  }
}
