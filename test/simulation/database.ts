/**
 * The metadata store's database, simulated on one SQLite in memory: any number of connections, one transaction at a
 * time, and connections that are slow, hang, break, or break just when a COMMIT was sent.
 *
 * One database serves one seed after the other: emptying the tables is quicker than making them.
 */
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { systemClock, type Clock } from "../../src/base/clock.ts";
import { openStore } from "../../src/store/open-store.ts";
import { ConnectionLostError, type Session, type SessionResult } from "../../src/store/sql/session.ts";
import { SqlStore } from "../../src/store/sql/sql-store.ts";
import { SessionPool } from "../../src/store/sql/pool.ts";
import { sqliteEngine } from "../../src/store/sql/sqlite.ts";
import type { Store } from "../../src/store/store.ts";
import type { Process } from "./process.ts";
import type { Random } from "./random.ts";

const options = { log: undefined, probeMs: 500, resolveMs: 5000, onRecovery: () => {} };
const limits = { sessionsMax: 10, waitingMax: 1000, acquireMs: 2000, statementMs: 4000, slowMs: 800 };
const tables = [
  "refs",
  "ref_log",
  "replicas",
  "repositories",
  "tombstones",
  "nodes",
  "leases",
  "operations",
  "events",
  "work",
  "samples",
  "node_states",
  "leaving_replicas",
];

type Answer = (outcome: { readonly result: SessionResult } | { readonly error: unknown }) => void;

/** How one controller's connections to the database are. */
export class DatabaseLink {
  mode: "ok" | "refuses" | "hangs" = "ok";
  /** Probability that a statement, or its answer, takes time. */
  slowness = 0;
  /** Probability that a connection breaks at a statement, before or after it took effect. */
  breakage = 0;
  /** The same for COMMIT alone. */
  commitBreakage = 0;
}

export class SimulatedDatabase {
  /** Called after each transaction that changed one of these tables. */
  onCommit: (changed: ReadonlySet<string>) => void = () => {};
  readonly #sqlite: DatabaseSync;
  readonly #statements = new Map<string, { readonly statement: StatementSync; readonly reads: boolean }>();
  #owner: SimulatedSession | undefined;
  #waiting: { readonly session: SimulatedSession; readonly run: () => void }[] = [];
  #changed = new Set<string>();

  private constructor() {
    this.#sqlite = new DatabaseSync(":memory:");
    this.#sqlite.exec("pragma synchronous = off; pragma foreign_keys = on");
  }

  /** With the tables that the program's own migrations make. */
  static async open(): Promise<SimulatedDatabase> {
    const database = new SimulatedDatabase();
    const schema = await openStore("sqlite::memory:");
    await schema.close();
    const session: Session = {
      broken: false,
      execute: async (sql, parameters) => database.execute(sql, parameters),
      close() {},
    };
    const pool = new SessionPool(async () => session, limits, systemClock);
    await new SqlStore(sqliteEngine(pool, pool), systemClock, options).migrate();
    return database;
  }

  /** No transaction is open. */
  get isIdle(): boolean {
    return this.#owner === undefined;
  }

  /** Forgets everything but the tables. */
  empty(): void {
    if (this.#sqlite.isTransaction) this.#sqlite.exec("rollback");
    this.#owner = undefined;
    this.#waiting = [];
    this.#changed.clear();
    this.onCommit = () => {};
    for (const table of tables) this.execute(`delete from ${table}`, []);
  }

  /** The store as a controller sees it. Its sessions end with the process. */
  openStore(process: Process, link: DatabaseLink, clock: Clock, random: Random, onRecovery: () => void): Store {
    const open = async (): Promise<Session> => {
      if (link.mode === "refuses") throw new ConnectionLostError("connection refused");
      const session = new SimulatedSession(this, process, link, random);
      // The server may learn late that its client is gone.
      process.onCrash.add(() => {
        process.sim.schedule(random.chance(0.9) ? random.around(2) : random.between(0, 5000), () => session.close());
      });
      return session;
    };
    const pool = new SessionPool(open, limits, clock);
    // Unlike a file, a server can be gone.
    const probe = (limitMs: number): Promise<void> => pool.probe("select 1", limitMs);
    return new SqlStore({ ...sqliteEngine(pool, pool), probe }, clock, { ...options, onRecovery });
  }

  /** Runs a statement now. */
  execute(sql: string, parameters: readonly unknown[]): SessionResult {
    let prepared = this.#statements.get(sql);
    if (prepared === undefined) {
      const statement = this.#sqlite.prepare(sql);
      prepared = { statement, reads: statement.columns().length > 0 };
      this.#statements.set(sql, prepared);
    }
    const values = parameters as readonly SQLInputValue[];
    if (prepared.reads) return { rows: prepared.statement.all(...values), affectedRows: undefined };
    return { rows: [], affectedRows: Number(prepared.statement.run(...values).changes) };
  }

  /** Runs a session's statement when no other session's transaction is open. */
  submit(session: SimulatedSession, sql: string, parameters: readonly unknown[], answer: Answer): void {
    if (session.broken) {
      answer({ error: new ConnectionLostError("the connection is closed") });
      return;
    }
    if (this.#owner !== undefined && this.#owner !== session) {
      this.#waiting.push({ session, run: () => this.submit(session, sql, parameters, answer) });
      return;
    }
    let result: SessionResult;
    try {
      result = this.execute(sql, parameters);
    } catch (error) {
      answer({ error });
      return;
    }
    if (sql.startsWith("begin")) this.#owner = session;
    const table = /^(?:insert into|update|delete from) "(refs|replicas|repositories)"/.exec(sql)?.[1];
    if (table !== undefined) this.#changed.add(table);
    const ends = sql === "commit" || sql === "rollback";
    if (ends) this.#owner = undefined;
    if (this.#changed.size > 0 && this.#owner === undefined) {
      if (sql !== "rollback") this.onCommit(this.#changed);
      this.#changed.clear();
    }
    answer({ result });
    if (ends) this.#next();
  }

  /** Rolls back what a closed session had begun. */
  closed(session: SimulatedSession): void {
    this.#waiting = this.#waiting.filter((waiting) => waiting.session !== session);
    if (this.#owner !== session) return;
    this.#owner = undefined;
    this.#changed.clear();
    if (this.#sqlite.isTransaction) this.execute("rollback", []);
    this.#next();
  }

  #next(): void {
    while (this.#owner === undefined) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      next.run();
    }
  }
}

class SimulatedSession implements Session {
  broken = false;
  readonly #database: SimulatedDatabase;
  readonly #process: Process;
  readonly #incarnation: number;
  readonly #link: DatabaseLink;
  readonly #random: Random;

  constructor(database: SimulatedDatabase, process: Process, link: DatabaseLink, random: Random) {
    this.#database = database;
    this.#process = process;
    this.#incarnation = process.incarnation;
    this.#link = link;
    this.#random = random;
  }

  execute(sql: string, parameters: readonly unknown[]): Promise<SessionResult> {
    const { sim } = this.#process;
    const link = this.#link;
    return new Promise((resolve, reject) => {
      this.#process.beforeStep();
      // Nothing of a process that crashed goes on.
      if (!this.#process.running || this.#process.incarnation !== this.#incarnation) return;
      if (link.mode === "hangs") return;
      const isCommit = sql === "commit";
      const breaks = this.#random.chance(link.breakage) || (isCommit && this.#random.chance(link.commitBreakage));
      const lostOnTheWay = breaks && this.#random.chance(0.5);
      if (link.mode === "refuses" || lostOnTheWay) {
        if (isCommit) sim.trace(`${this.#process.name} loses its connection before a commit`);
        this.close();
        reject(new ConnectionLostError("connection reset"));
        return;
      }
      const answer: Answer = (outcome) => {
        if (breaks) {
          if (isCommit) sim.trace(`${this.#process.name} loses its connection after a commit`);
          this.close();
        }
        this.#soon(() => {
          this.#process.deliver(this.#incarnation, () => {
            if (breaks) reject(new ConnectionLostError("connection reset"));
            else if ("error" in outcome) reject(outcome.error);
            else resolve(outcome.result);
          });
        });
      };
      this.#soon(() => this.#database.submit(this, sql, parameters, answer));
    });
  }

  close(): void {
    if (this.broken) return;
    this.broken = true;
    this.#database.closed(this);
  }

  #soon(run: () => void): void {
    if (this.#random.chance(this.#link.slowness)) this.#process.sim.schedule(this.#random.around(3), run);
    else run();
  }
}
