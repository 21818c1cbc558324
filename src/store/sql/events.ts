/** What changed the cluster, for people. Each is written in the transaction of the change that it tells of. */
import { sql, type Selectable } from "kysely";
import type { Clock } from "../../base/clock.ts";
import { eventKind } from "../../protocol/activity-api.ts";
import type { ClusterEvent, EventKind, EventQuery, NewEvent } from "../activity.ts";
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

  async list(query: EventQuery): Promise<readonly ClusterEvent[]> {
    const rows = await this.#database.read((db) => selectEvents(db, query).execute());
    return rows.flatMap(eventOf);
  }

  async repositoryIdOf(name: string): Promise<string | undefined> {
    const row = await this.#database.read((db) =>
      db
        .selectFrom("events")
        .select("repository_id")
        .where("repository_name", "=", name)
        .orderBy("id", "desc")
        .limit(1)
        .executeTakeFirst(),
    );
    return row?.repository_id;
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

/** Every one is read from the end of an index: what is asked for may be rare among very many. */
export function selectEvents(db: Executor, query: EventQuery) {
  const { kinds, repositoryId, nodeId } = query;
  if (kinds === undefined || repositoryId !== undefined || nodeId !== undefined) return selectOf(db, query, kinds);
  // No index has several kinds in order: some of each, and then of these.
  const [first, ...others] = [...new Set(kinds)].map((kind) =>
    db.selectFrom(selectOf(db, query, [kind]).as("of_kind")).selectAll(),
  );
  if (first === undefined) return selectOf(db, query, []);
  const all = others.reduce((union, one) => union.unionAll(one), first);
  return db.selectFrom(all.as("found")).selectAll().orderBy("id", "desc").limit(query.limit);
}

function selectOf(
  db: Executor,
  { before, repositoryId, nodeId, limit }: EventQuery,
  kinds: readonly EventKind[] | undefined,
) {
  return (
    db
      .selectFrom("events")
      .selectAll()
      .$if(before !== undefined, (query) => query.where("id", "<", before ?? 0))
      // Of an empty list only SQLite knows what it means.
      .$if(kinds !== undefined, (query) =>
        kinds?.length === 0 ? query.where(sql<boolean>`1 = 0`) : query.where("kind", "in", kinds ?? []),
      )
      .$if(repositoryId !== undefined, (query) => query.where("repository_id", "=", repositoryId ?? ""))
      .$if(nodeId !== undefined, (query) => query.where("node_id", "=", nodeId ?? ""))
      .orderBy("id", "desc")
      .limit(limit)
  );
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
  return (eventKind.options as readonly string[]).includes(text);
}
