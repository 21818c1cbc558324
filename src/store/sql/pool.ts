/**
 * A bounded pool of sessions, as a Kysely driver: the same for every engine, so that limits, time-outs and the
 * discarding of dead connections are the same too. Transactions are begun and ended by database.ts, not by Kysely.
 */
import { CompiledQuery, type DatabaseConnection, type Driver, type QueryResult } from "kysely";
import type { Clock } from "../../base/clock.ts";
import { ConnectionLostError, type Session } from "./session.ts";

export interface PoolLimits {
  readonly sessionsMax: number;
  /** Most callers that wait for a session. */
  readonly waitingMax: number;
  /** Longest wait for a session, ms; covers connecting. */
  readonly acquireMs: number;
  /** Longest wait for the answer to one statement, ms. */
  readonly statementMs: number;
  /** An answer that takes longer than this makes one wonder whether the database still answers, ms. */
  readonly slowMs: number;
}

/** Opens a session, and closes it when the signal aborts before it is open. */
export type OpenSession = (signal: AbortSignal) => Promise<Session>;

export class SessionPool implements Driver {
  readonly #open: OpenSession;
  readonly #limits: PoolLimits;
  readonly #clock: Clock;
  readonly #idle: PooledConnection[] = [];
  readonly #used = new Set<PooledConnection>();
  readonly #waiting: Waiter[] = [];
  #connecting = 0;
  #closed = false;
  #onSlow: () => void = () => {};

  constructor(open: OpenSession, limits: PoolLimits, clock: Clock) {
    this.#open = open;
    this.#limits = limits;
    this.#clock = clock;
  }

  async init(): Promise<void> {}

  /** Calls back whenever an answer is slow. */
  watch(onSlow: () => void): void {
    this.#onSlow = onSlow;
  }

  /** Ends every statement under way and every wait: the database is down. Sessions are opened anew afterwards. */
  interrupt(reason: ConnectionLostError): void {
    for (const waiter of this.#waiting.splice(0)) waiter.reject(reason);
    for (const { session } of this.#idle.splice(0)) session.close();
    for (const connection of this.#used) connection.interrupt(reason);
  }

  /** Opens one more session beside those of the pool, asks it `sql` and closes it; all within `limitMs`. */
  async probe(sql: string, limitMs: number): Promise<void> {
    const session = await this.#openWithin(limitMs);
    const connection = new PooledConnection(session, this.#clock, { statementMs: limitMs, slowMs: limitMs }, () => {});
    try {
      await connection.executeQuery(CompiledQuery.raw(sql));
    } finally {
      session.close();
    }
  }

  /** Throws ConnectionLostError when there is none in time. */
  async acquireConnection(): Promise<DatabaseConnection> {
    if (this.#closed) throw new ConnectionLostError("the store is closed");
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      if (!idle.session.broken) return this.#use(idle);
      idle.session.close();
    }
    if (this.#waiting.length >= this.#limits.waitingMax) {
      throw new ConnectionLostError("too many requests wait for a database connection");
    }
    return new Promise((resolve, reject) => {
      const cancelTimer = this.#clock.timer(this.#limits.acquireMs, () => {
        this.#onSlow();
        const index = this.#waiting.indexOf(waiter);
        if (index !== -1) this.#waiting.splice(index, 1);
        reject(new ConnectionLostError(`no database connection within ${this.#limits.acquireMs} ms`));
      });
      const waiter: Waiter = {
        resolve: (connection) => {
          cancelTimer();
          resolve(connection);
        },
        reject: (error) => {
          cancelTimer();
          reject(error);
        },
      };
      this.#waiting.push(waiter);
      this.#connectForWaiter();
    });
  }

  async releaseConnection(connection: DatabaseConnection): Promise<void> {
    if (!(connection instanceof PooledConnection)) throw new TypeError("not a connection of this pool");
    this.#used.delete(connection);
    this.#handOut(connection);
  }

  /** Waits for sessions in use, at most `acquireMs`, then closes whatever is open. */
  async destroy(): Promise<void> {
    this.#closed = true;
    for (const waiter of this.#waiting.splice(0)) waiter.reject(new ConnectionLostError("the store is closed"));
    for (const { session } of this.#idle.splice(0)) session.close();
    const endMs = this.#clock.monotonicMs() + this.#limits.acquireMs;
    while (this.#used.size + this.#connecting > 0 && this.#clock.monotonicMs() < endMs) await this.#clock.sleep(5);
    for (const { session } of this.#used) session.close();
  }

  beginTransaction(): Promise<void> {
    return Promise.reject(new Error("transactions go through Database"));
  }

  commitTransaction(): Promise<void> {
    return this.beginTransaction();
  }

  rollbackTransaction(): Promise<void> {
    return this.beginTransaction();
  }

  #use(connection: PooledConnection): PooledConnection {
    this.#used.add(connection);
    return connection;
  }

  #handOut(connection: PooledConnection): void {
    if (this.#closed || connection.session.broken) {
      connection.session.close();
      this.#connectForWaiter();
      return;
    }
    const waiter = this.#waiting.shift();
    if (waiter === undefined) this.#idle.push(connection);
    else waiter.resolve(this.#use(connection));
  }

  /** Opens one more session if somebody waits and the limit allows it; whoever waits longest gets it. */
  #connectForWaiter(): void {
    const open = this.#used.size + this.#idle.length + this.#connecting;
    if (this.#closed || open >= this.#limits.sessionsMax || this.#connecting >= this.#waiting.length) return;
    this.#connecting++;
    this.#openWithin(this.#limits.acquireMs).then(
      (session) => {
        this.#connecting--;
        this.#handOut(new PooledConnection(session, this.#clock, this.#limits, () => this.#onSlow()));
      },
      (error: unknown) => {
        this.#connecting--;
        this.#waiting.shift()?.reject(error);
        this.#connectForWaiter();
      },
    );
  }

  /** A session that is not open in time is given up: it would hold its place in the pool for ever. */
  async #openWithin(limitMs: number): Promise<Session> {
    const abort = new AbortController();
    const late = new Promise<never>((_, reject) => {
      abort.signal.addEventListener("abort", () => {
        reject(new ConnectionLostError(`no database connection within ${limitMs} ms`));
      });
    });
    const cancelTimer = this.#clock.timer(limitMs, () => abort.abort());
    const opening = this.#open(abort.signal);
    try {
      return await Promise.race([opening, late]);
    } catch (error) {
      opening.then(
        (session) => session.close(),
        () => {},
      );
      throw error;
    } finally {
      cancelTimer();
    }
  }
}

interface Waiter {
  readonly resolve: (connection: PooledConnection) => void;
  readonly reject: (error: unknown) => void;
}

class PooledConnection implements DatabaseConnection {
  readonly session: Session;
  readonly #clock: Clock;
  readonly #limits: Pick<PoolLimits, "statementMs" | "slowMs">;
  readonly #onSlow: () => void;
  #reject: (reason: ConnectionLostError) => void = () => {};

  constructor(session: Session, clock: Clock, limits: Pick<PoolLimits, "statementMs" | "slowMs">, onSlow: () => void) {
    this.session = session;
    this.#clock = clock;
    this.#limits = limits;
    this.#onSlow = onSlow;
  }

  /** Closes the session and fails what it is waited for. */
  interrupt(reason: ConnectionLostError): void {
    this.session.close();
    this.#reject(reason);
  }

  async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    if (this.session.broken) throw new ConnectionLostError("the database connection is closed");
    const { rows, affectedRows } = await this.#withinLimit(this.session.execute(query.sql, query.parameters));
    return {
      // The compiled query's type says what the rows are; Kysely trusts its drivers here.
      rows: rows as R[],
      ...(affectedRows === undefined ? {} : { numAffectedRows: BigInt(affectedRows) }),
    };
  }

  // oxlint-disable-next-line require-yield -- the interface asks for it; large results are read by key ranges instead
  async *streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    throw new Error("streaming is not supported");
  }

  /** A session that does not answer in time is closed: its state is unknown. */
  async #withinLimit<T>(answer: Promise<T>): Promise<T> {
    const { statementMs, slowMs } = this.#limits;
    const ended = new Promise<never>((_, reject) => {
      this.#reject = reject;
    });
    const cancelSlow = this.#clock.timer(slowMs, () => this.#onSlow());
    const cancelLate = this.#clock.timer(statementMs, () => {
      this.interrupt(new ConnectionLostError(`the database gave no answer within ${statementMs} ms`));
    });
    // Whichever comes second is nobody's affair.
    answer.catch(() => {});
    try {
      return await Promise.race([answer, ended]);
    } finally {
      cancelSlow();
      cancelLate();
    }
  }
}
