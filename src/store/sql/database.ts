/**
 * Runs statements and transactions: tries again what lost against another transaction, fails at once while the database
 * is known to be down (health.ts), and maps whatever means that it does not answer to "store-unavailable".
 *
 * A connection that dies during COMMIT leaves the outcome unknown. It is then found out, waiting for the database for
 * `resolveMs` if need be: work that is safe to run twice ("idempotent") is run again, other work has an id of its own in
 * the table `operations`, written by its transaction, so that a second run sees whether the first one was committed (and
 * waits for one that is still under way). If that does not succeed in time, the error has the field `outcome: "unknown"`.
 */
import { sql, type Kysely } from "kysely";
import type { Clock } from "../../base/clock.ts";
import { GitmeshError } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import type { Engine } from "./engine.ts";
import { StoreHealth } from "./health.ts";
import type { Schema } from "./schema.ts";
import { ConnectionLostError } from "./session.ts";

export type Executor = Kysely<Schema>;

export interface DatabaseOptions {
  readonly log: Logger | undefined;
  /** Longest wait for the answer to a probe, ms. */
  readonly probeMs: number;
  /** How long the outcome of an unanswered COMMIT is asked for, ms. */
  readonly resolveMs: number;
  readonly onRecovery: () => void;
}

/** How long work is tried again that other transactions get in the way of. */
const contentionMs = 15_000;
const pauseMinMs = 2;
const pauseMaxMs = 50;
const unavailablePauseMs = 100;
/** Far longer than an outcome is ever asked for, whatever the clocks of the controllers say. */
const operationKeepMs = 7 * 86_400_000;
/** Finished operations whose ids are removed by one later transaction. */
const finishedMax = 100;

export interface WriteOptions {
  /** Running it a second time after it was committed changes nothing and returns the same. */
  readonly idempotent: boolean;
  /** A taken key means that another did the same just now: try again and see it. */
  readonly retryDuplicates?: boolean;
}

type Attempt<T> =
  | { readonly kind: "done"; readonly value: T }
  | { readonly kind: "failed"; readonly error: unknown; readonly committing: boolean };

export class Database {
  readonly engine: Engine;
  readonly #clock: Clock;
  readonly #health: StoreHealth;
  readonly #resolveMs: number;
  /** Ids of operations whose outcome is known. */
  #finished: string[] = [];

  constructor(engine: Engine, clock: Clock, options: DatabaseOptions) {
    this.engine = engine;
    this.#clock = clock;
    this.#resolveMs = options.resolveMs;
    this.#health = new StoreHealth({
      ...options,
      clock,
      probe: (limitMs) => engine.probe?.(limitMs) ?? Promise.resolve(),
      interrupt: (reason) => {
        for (const pool of engine.pools) pool.interrupt(reason);
      },
    });
    for (const pool of engine.pools) pool.watch(() => this.#health.suspect());
  }

  /** Single reading statements. */
  read<T>(work: (db: Executor) => Promise<T>): Promise<T> {
    return this.#repeat({ idempotent: true }, () => attempt(() => work(this.engine.reader)));
  }

  /** Several reads that see one moment. */
  snapshot<T>(work: (db: Executor) => Promise<T>): Promise<T> {
    return this.#repeat({ idempotent: true }, () =>
      this.#transaction(this.engine.reader, this.engine.beginSnapshot, work),
    );
  }

  /** One changing statement, committed by itself, that is safe to run twice. */
  statement<T>(work: (db: Executor) => Promise<T>): Promise<T> {
    return this.#repeat({ idempotent: true }, () => attempt(() => work(this.engine.writer)));
  }

  /** A transaction. Keep it short: no waiting for anything but the database. */
  write<T>(work: (trx: Executor) => Promise<T>, options: WriteOptions): Promise<T> {
    if (!options.idempotent) return this.#writeOnce(work);
    return this.#repeat(options, () => this.#transaction(this.engine.writer, this.engine.beginWrite, work));
  }

  /** One connection, without a transaction; not tried again. */
  async session<T>(work: (db: Executor) => Promise<T>): Promise<T> {
    try {
      this.#health.check();
      return await this.engine.writer.connection().execute(work);
    } catch (error) {
      if (error instanceof ConnectionLostError) this.#health.suspect();
      const kind = this.engine.errorKind(error);
      if (kind === "refused") throw refused(error);
      throw kind === "unavailable" ? unavailable(error) : error;
    }
  }

  /** Whether a statement failed because a unique key is taken. */
  isDuplicate(error: unknown): boolean {
    return this.engine.errorKind(error) === "duplicate";
  }

  /** Removes what processes that ended left in `operations`. */
  async forgetOperations(): Promise<void> {
    const before = this.#clock.nowMs() - operationKeepMs;
    await this.statement((db) => db.deleteFrom("operations").where("begun_ms", "<", before).execute());
  }

  async close(): Promise<void> {
    this.#health.close();
    await this.engine.writer.destroy();
    if (this.engine.reader !== this.engine.writer) await this.engine.reader.destroy();
  }

  async #writeOnce<T>(work: (trx: Executor) => Promise<T>): Promise<T> {
    const id = this.#clock.uuid();
    const finished = this.#finished.splice(0, finishedMax);
    let earlier: { readonly value: T } | undefined;
    try {
      const value = await this.#repeat({ idempotent: true }, () =>
        this.#transaction(this.engine.writer, this.engine.beginWrite, async (trx) => {
          // The key of a transaction that is still under way is waited for.
          if (!(await this.#takeKey(trx, id)) && earlier !== undefined) return earlier.value;
          if (finished.length > 0) await trx.deleteFrom("operations").where("id", "in", finished).execute();
          earlier = { value: await work(trx) };
          return earlier.value;
        }),
      );
      this.#finished.push(id);
      return value;
    } catch (error) {
      this.#finished.push(...finished);
      throw error;
    }
  }

  /** False when a committed transaction has it. */
  async #takeKey(trx: Executor, id: string): Promise<boolean> {
    const insert = trx.insertInto("operations").values({ id, begun_ms: this.#clock.nowMs() });
    const { numInsertedOrUpdatedRows } = await (
      this.engine.kind === "mysql" ? insert.ignore() : insert.onConflict((conflict) => conflict.doNothing())
    ).executeTakeFirst();
    return numInsertedOrUpdatedRows === 1n;
  }

  async #repeat<T>(options: WriteOptions, run: () => Promise<Attempt<T>>): Promise<T> {
    const startMs = this.#clock.monotonicMs();
    let unknownSinceMs: number | undefined;
    for (let attempts = 1; ; attempts++) {
      const outcome = await this.#unlessDown(run);
      if (outcome.kind === "done") return outcome.value;
      const { error, committing } = outcome;
      const kind = this.engine.errorKind(error);
      const nowMs = this.#clock.monotonicMs();
      if (kind === "contention" || (kind === "duplicate" && options.retryDuplicates === true)) {
        const passedMs = nowMs - (unknownSinceMs ?? startMs);
        if (passedMs > (unknownSinceMs === undefined ? contentionMs : this.#resolveMs)) {
          throw unknownSinceMs === undefined ? unavailable(error) : outcomeUnknown(error);
        }
        await this.#clock.sleep(pauseMinMs + this.#clock.random() * Math.min(pauseMaxMs, pauseMinMs * 2 ** attempts));
      } else if (kind === "unavailable" || kind === "refused") {
        if (committing && kind === "unavailable") unknownSinceMs ??= nowMs;
        if (unknownSinceMs === undefined) {
          if (kind === "refused") throw refused(error);
          if (attempts > 1 || this.#health.isDown) throw unavailable(error);
          continue;
        }
        const leftMs = unknownSinceMs + this.#resolveMs - nowMs;
        if (leftMs <= 0) throw outcomeUnknown(error);
        await this.#clock.sleep(Math.min(unavailablePauseMs, leftMs));
        await this.#health.up(leftMs);
      } else {
        throw error;
      }
    }
  }

  async #unlessDown<T>(run: () => Promise<Attempt<T>>): Promise<Attempt<T>> {
    try {
      this.#health.check();
    } catch (error) {
      return { kind: "failed", error, committing: false };
    }
    const outcome = await run();
    if (outcome.kind === "failed" && outcome.error instanceof ConnectionLostError) this.#health.suspect();
    return outcome;
  }

  async #transaction<T>(
    db: Executor,
    begin: readonly string[],
    work: (trx: Executor) => Promise<T>,
  ): Promise<Attempt<T>> {
    // A failure to get a connection at all is caught here, the others where it is known how far things got.
    try {
      return await db.connection().execute(async (trx) => {
        const result = await attempt(async () => {
          for (const statement of begin) await sql.raw(statement).execute(trx);
          return work(trx);
        });
        const ended = result.kind === "done" ? await attempt(() => sql.raw("commit").execute(trx)) : result;
        if (ended.kind === "done") return result;
        // Also after a refused COMMIT; a connection that is dead needs none, and one that is not answers.
        await attempt(() => sql.raw("rollback").execute(trx));
        return { kind: "failed", error: ended.error, committing: result.kind === "done" };
      });
    } catch (error) {
      return { kind: "failed", error, committing: false };
    }
  }
}

async function attempt<T>(work: () => Promise<T>): Promise<Attempt<T>> {
  try {
    return { kind: "done", value: await work() };
  } catch (error) {
    return { kind: "failed", error, committing: false };
  }
}

function refused(cause: unknown): GitmeshError {
  const detail = "the metadata store takes no changes now; try again shortly";
  return new GitmeshError("store-unavailable", detail, { cause });
}

function unavailable(cause: unknown): GitmeshError {
  const detail = "the metadata store does not answer; try again shortly";
  return new GitmeshError("store-unavailable", detail, { cause });
}

/** Of a change whose COMMIT had no answer, and whose effect cannot be found out. */
export function outcomeUnknown(cause: unknown): GitmeshError {
  const detail =
    "the metadata store stopped answering while the change was committed: it may have taken effect or not; look before trying again";
  return new GitmeshError("store-unavailable", detail, { cause, fields: { outcome: "unknown" } });
}
