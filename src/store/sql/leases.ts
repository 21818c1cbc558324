/** Who runs the background work. The row stays when the lease is released: the fencing number never goes back. */
import { crashPoint } from "../../base/crash-point.ts";
import type { Lease } from "../store.ts";
import type { Database } from "./database.ts";

const nobody = "";

export class Leases {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  acquire(name: string, holder: string, durationMs: number, nowMs: number, unrenewed?: Lease): Promise<Lease> {
    const expiresMs = nowMs + durationMs;
    return this.#database.write(
      async (trx) => {
        const row = await trx
          .selectFrom("leases")
          .selectAll()
          .where("name", "=", name)
          .$if(this.#database.engine.kind !== "sqlite", (query) => query.forUpdate())
          .executeTakeFirst();
        if (row === undefined) {
          await trx.insertInto("leases").values({ name, holder, fencing: 1, expires_ms: expiresMs }).execute();
          return { holder, fencing: 1, expiresMs };
        }
        const takeable =
          row.holder === holder ||
          row.holder === nobody ||
          (row.holder === unrenewed?.holder &&
            row.fencing === unrenewed.fencing &&
            row.expires_ms === unrenewed.expiresMs);
        if (!takeable) return { holder: row.holder, fencing: row.fencing, expiresMs: row.expires_ms };
        const fencing = row.holder === holder ? row.fencing : row.fencing + 1;
        await trx
          .updateTable("leases")
          .set({ holder, fencing, expires_ms: expiresMs })
          .where("name", "=", name)
          .execute();
        crashPoint("lease.row-written");
        return { holder, fencing, expiresMs };
      },
      // Two first holders: the second finds the row of the first when it tries again.
      { idempotent: true, retryDuplicates: true },
    );
  }

  async holder(name: string, nowMs: number): Promise<string | undefined> {
    const row = await this.#database.read((db) =>
      db.selectFrom("leases").selectAll().where("name", "=", name).executeTakeFirst(),
    );
    return row === undefined || row.holder === nobody || row.expires_ms <= nowMs ? undefined : row.holder;
  }

  async release(name: string, holder: string): Promise<void> {
    await this.#database.statement((db) =>
      db
        .updateTable("leases")
        .set({ holder: nobody, expires_ms: 0 })
        .where("name", "=", name)
        .where("holder", "=", holder)
        .execute(),
    );
  }
}
