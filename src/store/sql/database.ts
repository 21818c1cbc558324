/**
 * Runs statements and transactions: tries again what lost against another transaction, and maps whatever means that
 * the database does not answer to "store-unavailable".
 *
 * A connection that dies during COMMIT leaves the outcome unknown. Only work that is safe to run twice ("idempotent")
 * is then tried again; if that is not possible in time, the error has the field `outcome: "unknown"`.
 */
import { sql, type Kysely } from "kysely";
import type { Clock } from "../../base/clock.ts";
import { GitmeshError } from "../../base/errors.ts";
import type { Engine } from "./engine.ts";
import type { Schema } from "./schema.ts";

export type Executor = Kysely<Schema>;

/** How long work is tried again that other transactions get in the way of. */
const contentionMs = 15_000;
/** How long the outcome of an unanswered COMMIT is asked for. */
const unknownMs = 5000;
const pauseMinMs = 2;
const pauseMaxMs = 50;
const unavailablePauseMs = 100;

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

  constructor(engine: Engine, clock: Clock) {
    this.engine = engine;
    this.#clock = clock;
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
    return this.#repeat(options, () => this.#transaction(this.engine.writer, this.engine.beginWrite, work));
  }

  /** One connection, without a transaction; not tried again. */
  async session<T>(work: (db: Executor) => Promise<T>): Promise<T> {
    try {
      return await this.engine.writer.connection().execute(work);
    } catch (error) {
      throw this.engine.errorKind(error) === "unavailable" ? unavailable(error, false) : error;
    }
  }

  /** Whether a statement failed because a unique key is taken. */
  isDuplicate(error: unknown): boolean {
    return this.engine.errorKind(error) === "duplicate";
  }

  async close(): Promise<void> {
    await this.engine.writer.destroy();
    if (this.engine.reader !== this.engine.writer) await this.engine.reader.destroy();
  }

  async #repeat<T>(options: WriteOptions, run: () => Promise<Attempt<T>>): Promise<T> {
    const startMs = this.#clock.monotonicMs();
    let unknownSinceMs: number | undefined;
    for (let attempts = 1; ; attempts++) {
      const outcome = await run();
      if (outcome.kind === "done") return outcome.value;
      const { error, committing } = outcome;
      const kind = this.engine.errorKind(error);
      const nowMs = this.#clock.monotonicMs();
      if (kind === "contention" || (kind === "duplicate" && options.retryDuplicates === true)) {
        if (nowMs - startMs > contentionMs) throw unavailable(error, unknownSinceMs !== undefined);
        await this.#clock.sleep(pauseMinMs + this.#clock.random() * Math.min(pauseMaxMs, pauseMinMs * 2 ** attempts));
      } else if (kind === "unavailable") {
        if (committing) unknownSinceMs ??= nowMs;
        const goOn =
          unknownSinceMs === undefined ? attempts === 1 : options.idempotent && nowMs - unknownSinceMs < unknownMs;
        if (!goOn) throw unavailable(error, unknownSinceMs !== undefined);
        if (attempts > 1) await this.#clock.sleep(unavailablePauseMs);
      } else {
        throw error;
      }
    }
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

function unavailable(cause: unknown, unknown: boolean): GitmeshError {
  const detail = unknown
    ? "the metadata store did not say whether the change was committed"
    : "the metadata store does not answer";
  return new GitmeshError("store-unavailable", detail, {
    cause,
    ...(unknown ? { fields: { outcome: "unknown" } } : {}),
  });
}
