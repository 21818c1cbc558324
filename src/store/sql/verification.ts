/** What is known of the soundness of replicas: when they were verified, which are damaged, which is next. */
import { sql, type Selectable } from "kysely";
import type { EventKind } from "../activity.ts";
import { isComplete } from "../replica.ts";
import type { ReplicaCopy } from "../store.ts";
import {
  verificationAsked,
  type DamageOutcome,
  type NextToVerify,
  type Period,
  type VerificationProgress,
} from "../verification.ts";
import { chunksOf } from "./chunks.ts";
import type { Database, Executor } from "./database.ts";
import type { Events } from "./events.ts";
import { lockRepository, refreshHealth } from "./repository-lock.ts";
import { textOf, type RepositoryTable } from "./schema.ts";

export class Verification {
  readonly #database: Database;
  readonly #events: Events;

  constructor(database: Database, events: Events) {
    this.#database = database;
    this.#events = events;
  }

  async recordVerified({ repositoryId, nodeId, copyNumber }: ReplicaCopy, nowMs: number): Promise<void> {
    const update = (db: Executor) =>
      db
        .updateTable("replicas")
        .where("repository_id", "=", repositoryId)
        .where("node_id", "=", nodeId)
        .where("copy_number", "=", copyNumber)
        .where("state", "=", "READY");
    const { numUpdatedRows } = await this.#database.statement((db) =>
      update(db).set({ verified_ms: nowMs }).where("reason", "=", "").executeTakeFirst(),
    );
    if (numUpdatedRows > 0n) return;
    // A READY one's reason is that it is damaged: it is so no longer.
    await this.#database.write(
      async (trx) => {
        const repository = await lockRepository(this.#database, trx, repositoryId);
        if (repository === undefined) return;
        const { numUpdatedRows: sound } = await update(trx).set({ verified_ms: nowMs, reason: "" }).executeTakeFirst();
        if (sound === 0n) return;
        await refreshHealth(trx, [repositoryId]);
        await this.#tell(trx, repository, "replica-sound", nodeId, "");
      },
      { idempotent: true },
    );
  }

  async request(nodeId: string, repositoryIds: readonly string[], verified: Period | undefined): Promise<void> {
    for (const chunk of chunksOf(repositoryIds)) {
      await this.#database.statement((db) => {
        const update = db
          .updateTable("replicas")
          .set({ verified_ms: verificationAsked })
          .where("node_id", "=", nodeId)
          .where("repository_id", "in", chunk);
        return (verified === undefined ? update : update.where(outside(verified))).execute();
      });
    }
  }

  async next(nodeId: string, verified: Period, except: readonly string[]): Promise<NextToVerify | undefined> {
    const due = (db: Executor, sign: "<" | ">=") =>
      db
        .selectFrom("replicas")
        .select(["repository_id", "verified_ms", "state_since_ms"])
        .where("node_id", "=", nodeId)
        .where("state", "=", "READY")
        .where("verified_ms", sign, 0)
        .where(outside(verified))
        .$if(except.length > 0, (query) => query.where("repository_id", "not in", except))
        .orderBy("verified_ms")
        .limit(1)
        .executeTakeFirst();
    const [never, before] = await this.#database.read(async (db) => [await due(db, "<"), await due(db, ">=")]);
    // Replicas that are filled all the time must not keep those from their turn that were verified long ago.
    const isNeverFirst =
      never !== undefined &&
      (before === undefined || never.verified_ms === verificationAsked || never.state_since_ms < before.verified_ms);
    const row = isNeverFirst ? never : before;
    return row === undefined ? undefined : { repositoryId: row.repository_id, verifiedMs: row.verified_ms };
  }

  async progress({ sinceMs, nowMs }: Period): Promise<VerificationProgress> {
    const row = await this.#database.read((db) =>
      db
        .selectFrom("replicas")
        .select((eb) => [
          eb.fn.countAll<number>().as("ready"),
          sql<number | string | null>`sum(case when verified_ms between ${sinceMs} and ${nowMs} then 1 else 0 end)`.as(
            "verified",
          ),
          eb.fn.min<number | null>("verified_ms").as("oldest"),
        ])
        .where("state", "=", "READY")
        .executeTakeFirstOrThrow(),
    );
    // MySQL gives sums as decimal text.
    return { ready: row.ready, verified: Number(row.verified ?? 0), oldestMs: row.oldest ?? -1 };
  }

  markDamaged(
    { repositoryId, nodeId, copyNumber }: ReplicaCopy,
    reason: string,
    nowMs: number,
    options: { readonly byHand: boolean },
  ): Promise<DamageOutcome> {
    return this.#database.write(
      async (trx) => {
        const repository = await lockRepository(this.#database, trx, repositoryId);
        if (repository === undefined) return "gone";
        // Copies that are ahead of the store are what an adoption is to take over: all stay where they are.
        if (repository.ahead_generation > repository.generation) return "only-copy";
        const replicas = await trx
          .selectFrom("replicas")
          .select(["node_id", "state", "reason", "copy_number"])
          .where("repository_id", "=", repositoryId)
          .execute();
        const mine = replicas.find(({ node_id }) => node_id === nodeId);
        if (mine?.copy_number !== copyNumber) return "gone";
        if (mine.state === "QUARANTINED" && !options.byHand) return "gone";
        const update = trx
          .updateTable("replicas")
          .where("repository_id", "=", repositoryId)
          .where("node_id", "=", nodeId);
        if (!replicas.some((other) => other.node_id !== nodeId && isComplete(other))) {
          if (options.byHand) return "only-copy";
          await update.set({ reason, verified_ms: -1 }).execute();
          await refreshHealth(trx, [repositoryId]);
          if (mine.reason !== reason) {
            const detail = `${reason}; there is no other complete copy`;
            await this.#tell(trx, repository, "replica-damaged", nodeId, detail);
          }
          return "only-copy";
        }
        await update
          .set({
            state: "STALE",
            damaged: 1,
            generation: -1,
            missed_generation: repository.generation === 0 ? -1 : repository.generation,
            reason,
            state_since_ms: nowMs,
            verified_ms: -1,
          })
          .execute();
        await refreshHealth(trx, [repositoryId]);
        await this.#tell(trx, repository, "replica-damaged", nodeId, reason);
        return "marked";
      },
      { idempotent: true },
    );
  }

  async recordMovedAside({ repositoryId, nodeId, copyNumber }: ReplicaCopy, nowMs: number): Promise<void> {
    await this.#database.write(
      async (trx) => {
        const repository = await lockRepository(this.#database, trx, repositoryId);
        if (repository === undefined) return;
        const { numUpdatedRows } = await trx
          .updateTable("replicas")
          .set({
            damaged: 0,
            copy_number: sql<number>`copy_number + 1`,
            state: "STALE",
            generation: -1,
            missed_generation: repository.generation === 0 ? -1 : repository.generation,
            reason: sql<string>`case when state = 'READY' then 'moved aside' else reason end`,
            state_since_ms: nowMs,
            verified_ms: -1,
          })
          .where("repository_id", "=", repositoryId)
          .where("node_id", "=", nodeId)
          .where("copy_number", "=", copyNumber)
          .where("state", "!=", "QUARANTINED")
          .executeTakeFirst();
        await refreshHealth(trx, [repositoryId]);
        if (numUpdatedRows > 0n) await this.#tell(trx, repository, "replica-moved-aside", nodeId, "to be filled anew");
      },
      { idempotent: true },
    );
  }

  async #tell(
    trx: Executor,
    { id, name }: Selectable<RepositoryTable>,
    kind: EventKind,
    nodeId: string,
    detail: string,
  ): Promise<void> {
    await this.#events.append(trx, [{ kind, repository: { id, name: textOf(name) }, nodeId, detail }]);
  }
}

function outside({ sinceMs, nowMs }: Period) {
  return sql<boolean>`(verified_ms < ${sinceMs} or verified_ms > ${nowMs})`;
}
