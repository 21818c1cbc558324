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
  readonly limits?: Partial<Pick<PoolLimits, "sessionsMax" | "waitingMax" | "acquireMs" | "statementMs">>;
  /** A database that gives no sign of life for this long is down, ms. */
  readonly timeoutMs?: number;
  /** How long the outcome of a COMMIT without an answer is asked for, ms. */
  readonly resolveMs?: number;
  /** Called when the database answers again after it was down: what was read before may no longer be so. */
  readonly onRecovery?: () => void;
}

/** `statementMs` is longer than the engines wait for a lock. */
const defaultLimits = { sessionsMax: 10, waitingMax: 1000, statementMs: 15_000 };
const timeoutMsDefault = 5000;
const resolveMsDefault = 30_000;

/**
 * `sqlite:FILE` or `sqlite::memory:`, `mysql://`, `mariadb://`, `postgres://` or `postgresql://`. Does not migrate, and
 * connects to a server only with the first call. Throws "store-unavailable" when a SQLite file cannot be opened.
 */
export async function openStore(databaseUrl: string, options: OpenStoreOptions = {}): Promise<Store> {
  const clock = options.clock ?? systemClock;
  const { timeoutMs = timeoutMsDefault, resolveMs = resolveMsDefault, onRecovery = () => {}, log } = options;
  // A slow answer and two probes make the time-out.
  const limits = { ...defaultLimits, acquireMs: timeoutMs, slowMs: 0.4 * timeoutMs, ...options.limits };
  const engine = await openEngine(databaseUrl, limits, clock);
  return new SqlStore(engine, clock, { log, probeMs: 0.3 * timeoutMs, resolveMs, onRecovery });
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
