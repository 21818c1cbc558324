/** What changed the cluster, for people. Each is written in the transaction of the change that it tells of. */
import type { Selectable } from "kysely";
import type { Clock } from "../../base/clock.ts";
import { eventKinds, type ClusterEvent, type EventKind, type EventQuery, type NewEvent } from "../activity.ts";
import { chunksOf } from "./chunks.ts";
import type { Database, Executor } from "./database.ts";
import { textOf, type EventTable } from "./schema.ts";

const detailCharactersMax = 1000;
/** Rows deleted by one statement, so that no transaction is long. */
const trimRows = 5000;

export class Events {
  readonly #database: Database;
  readonly #clock: Clock;

  constructor(database: Database, clock: Clock) {
    this.#database = database;
    this.#clock = clock;
  }

  async append(trx: Executor, events: readonly NewEvent[]): Promise<void> {
    const at_ms = this.#clock.nowMs();
    for (const chunk of chunksOf(events)) {
      await trx
        .insertInto("events")
        .values(
          chunk.map(({ kind, repository, nodeId = "", detail = "" }) => ({
            at_ms,
            kind,
            repository_id: repository?.id ?? "",
            repository_name: repository?.name ?? "",
            node_id: nodeId,
            detail: detail.slice(0, detailCharactersMax),
          })),
        )
        .execute();
    }
  }

  /** An event without a change of its own. */
  add(event: NewEvent): Promise<void> {
    return this.#database.write((trx) => this.append(trx, [event]), { idempotent: false });
  }

  async list({ before, kinds, repositoryId, nodeId, limit }: EventQuery): Promise<readonly ClusterEvent[]> {
    const rows = await this.#database.read((db) =>
      db
        .selectFrom("events")
        .selectAll()
        .$if(before !== undefined, (query) => query.where("id", "<", before ?? 0))
        .$if(kinds !== undefined, (query) => query.where("kind", "in", kinds ?? []))
        .$if(repositoryId !== undefined, (query) => query.where("repository_id", "=", repositoryId ?? ""))
        .$if(nodeId !== undefined, (query) => query.where("node_id", "=", nodeId ?? ""))
        .orderBy("id", "desc")
        .limit(limit)
        .execute(),
    );
    return rows.flatMap(eventOf);
  }

  async readAfter(after: number, limit: number): Promise<readonly ClusterEvent[]> {
    const rows = await this.#database.read((db) =>
      db.selectFrom("events").selectAll().where("id", ">", after).orderBy("id").limit(limit).execute(),
    );
    return rows.flatMap(eventOf);
  }

  async newestId(): Promise<number> {
    const row = await this.#database.read((db) =>
      db
        .selectFrom("events")
        .select((eb) => eb.fn.max<number | null>("id").as("id"))
        .executeTakeFirst(),
    );
    return row?.id ?? 0;
  }

  async trim(beforeMs: number, keepMax: number): Promise<void> {
    const lowest = (await this.newestId()) - keepMax;
    for (;;) {
      const old = await this.#database.read((db) =>
        db
          .selectFrom("events")
          .select("id")
          .where((eb) => eb.or([eb("at_ms", "<", beforeMs), eb("id", "<=", lowest)]))
          .orderBy("id")
          .limit(trimRows)
          .execute(),
      );
      for (const chunk of chunksOf(old)) {
        const ids = chunk.map(({ id }) => id);
        await this.#database.statement((db) => db.deleteFrom("events").where("id", "in", ids).execute());
      }
      if (old.length < trimRows) return;
    }
  }
}

/** A kind that a later program wrote is passed over. */
function eventOf(row: Selectable<EventTable>): ClusterEvent[] {
  if (!isEventKind(row.kind)) return [];
  const event = {
    id: row.id,
    atMs: row.at_ms,
    kind: row.kind,
    repositoryId: row.repository_id,
    repositoryName: textOf(row.repository_name),
    nodeId: row.node_id,
    detail: row.detail,
  };
  return [event];
}

function isEventKind(text: string): text is EventKind {
  return (eventKinds as readonly string[]).includes(text);
}
