/** Numbers by the time, for charts. */
import type { Sample, SampleSubjects } from "../activity.ts";
import type { Database } from "./database.ts";

export class Samples {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  save(samples: readonly Sample[]): Promise<void> {
    return this.#database.write(
      async (trx) => {
        for (const { startMs, subject, numbers } of samples) {
          const place = { start_ms: startMs, subject };
          await trx.deleteFrom("samples").where("start_ms", "=", startMs).where("subject", "=", subject).execute();
          await trx
            .insertInto("samples")
            .values({ ...place, numbers })
            .execute();
        }
      },
      { idempotent: true, retryDuplicates: true },
    );
  }

  async list(sinceMs: number, { prefix, subject = prefix }: SampleSubjects): Promise<readonly Sample[]> {
    const rows = await this.#database.read((db) =>
      db
        .selectFrom("samples")
        .selectAll()
        .where("start_ms", ">=", sinceMs)
        // What begins so, bytewise: no subject has a character above "~".
        .where((eb) =>
          eb.or([eb("subject", "=", subject), eb.and([eb("subject", ">=", prefix), eb("subject", "<", `${prefix}~`)])]),
        )
        .orderBy("start_ms")
        .orderBy("subject")
        .execute(),
    );
    return rows.map((row) => ({ startMs: row.start_ms, subject: row.subject, numbers: row.numbers }));
  }

  async trim(beforeMs: number): Promise<void> {
    await this.#database.statement((db) => db.deleteFrom("samples").where("start_ms", "<", beforeMs).execute());
  }
}
