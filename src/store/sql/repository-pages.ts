/** Lists of repositories, by keyset: a page costs the same wherever it is. */
import { sql } from "kysely";
import { GitmeshError } from "../../base/errors.ts";
import type { PushedRepository } from "../activity.ts";
import type { Replica, RepositoryPage, RepositoryQuery, RepositoryWithReplicas } from "../store.ts";
import { chunksOf } from "./chunks.ts";
import type { Database, Executor } from "./database.ts";
import type { Engine } from "./engine.ts";
import { replicaOf, repositoryOf } from "./rows.ts";
import { textOf } from "./schema.ts";

type Sort = NonNullable<RepositoryQuery["sort"]>;

/** Where a page ended: the sort key (absent when it is the name) and the name. */
interface Position {
  readonly key: number | undefined;
  readonly name: string;
}

export class RepositoryPages {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Throws "bad-request" for a cursor that is not of this sort order. */
  async list(query: RepositoryQuery): Promise<RepositoryPage> {
    const sort = query.sort ?? "name";
    const column = sortColumn(sort);
    const rows = await this.#database.read((db) => selectPage(db, this.#database.engine.kind, query).execute());
    const page = rows.slice(0, query.limit);
    const last = page.at(-1);
    const next =
      rows.length > query.limit && last !== undefined
        ? encodeCursor(sort, { key: column === "name" ? undefined : last[column], name: textOf(last.name) })
        : undefined;
    return { items: await this.#database.read((db) => withReplicas(db, page)), next };
  }

  async countMatching({ contains, state }: Pick<RepositoryQuery, "contains" | "state">): Promise<number> {
    const { count } = await this.#database.read((db) => {
      let select = db.selectFrom("repositories").select((eb) => eb.fn.countAll<number>().as("count"));
      if (contains !== undefined && contains !== "")
        select = select.where(nameContains(this.#database.engine.kind, contains));
      if (state !== undefined) select = select.where("degraded", "=", state === "degraded" ? 1 : 0);
      return select.executeTakeFirstOrThrow();
    });
    return count;
  }

  async listPushedSince(sinceMs: number, limit: number): Promise<readonly PushedRepository[]> {
    const rows = await this.#database.read((db) =>
      db
        .selectFrom("repositories")
        .select(["id", "name", "generation", "pushed_ms"])
        .where("pushed_ms", ">=", sinceMs)
        .orderBy("pushed_ms", "desc")
        .limit(limit)
        .execute(),
    );
    return rows.map(({ id, name, generation, pushed_ms }) => ({
      id,
      name: textOf(name),
      generation,
      pushedMs: pushed_ms,
    }));
  }

  async listUnhealthy(afterId: string, limit: number): Promise<readonly RepositoryWithReplicas[]> {
    return this.#database.read(async (db) => {
      const rows = await db
        .selectFrom("repositories")
        .selectAll()
        .where("unhealthy", "=", 1)
        .where("id", ">", afterId)
        .orderBy("id")
        .limit(limit)
        .execute();
      return withReplicas(db, rows);
    });
  }

  /** Those of which a copy was seen ahead of the store: few, and looked for by a person. */
  async listBehind(): Promise<readonly RepositoryWithReplicas[]> {
    return this.#database.read(async (db) => {
      const rows = await db
        .selectFrom("repositories")
        .selectAll()
        .whereRef("ahead_generation", ">", "generation")
        .orderBy("name")
        .execute();
      return withReplicas(db, rows);
    });
  }

  /** Those of these ids that there are, in no order. */
  async getAll(ids: readonly string[]): Promise<readonly RepositoryWithReplicas[]> {
    return this.#database.read(async (db) => {
      const rows: Parameters<typeof repositoryOf>[0][] = [];
      for (const chunk of chunksOf(ids))
        rows.push(...(await db.selectFrom("repositories").selectAll().where("id", "in", chunk).execute()));
      return withReplicas(db, rows);
    });
  }
}

/** One row more than the page has. Throws "bad-request" for a cursor that is not of this sort order. */
export function selectPage(db: Executor, engine: Engine["kind"], query: RepositoryQuery) {
  const sort = query.sort ?? "name";
  const descending = sort.startsWith("-");
  const column = sortColumn(sort);
  const after = query.cursor === undefined ? undefined : decodeCursor(query.cursor, sort);
  const order = descending ? "desc" : "asc";
  let select = db.selectFrom("repositories").selectAll();
  if (query.contains !== undefined && query.contains !== "")
    select = select.where(nameContains(engine, query.contains));
  if (query.state !== undefined) select = select.where("degraded", "=", query.state === "degraded" ? 1 : 0);
  if (after !== undefined) select = select.where(isBeyond(engine, column, after, descending ? "<" : ">"));
  if (column !== "name") select = select.orderBy(column, order);
  return select.orderBy("name", order).limit(query.limit + 1);
}

/** Each planner begins in the index where the page before ended, however many have the same key. */
function isBeyond(
  engine: Engine["kind"],
  column: ReturnType<typeof sortColumn>,
  { key, name }: Position,
  beyond: "<" | ">",
) {
  const than = sql.raw(beyond);
  if (column === "name" || key === undefined) return sql<boolean>`name ${than} ${name}`;
  const by = sql.ref(column);
  return engine === "mysql"
    ? sql<boolean>`(${by} ${than} ${key} or (${by} = ${key} and name ${than} ${name}))`
    : sql<boolean>`(${by}, name) ${than} (${key}, ${name})`;
}

/** Bytewise on every engine; SQLite's LIKE would ignore case. */
function nameContains(engine: Engine["kind"], part: string) {
  return engine === "postgres"
    ? sql<boolean>`strpos(name, ${part}) > 0`
    : engine === "mysql"
      ? sql<boolean>`instr(name, ${Buffer.from(part)}) > 0`
      : sql<boolean>`instr(name, ${part}) > 0`;
}

async function withReplicas(
  db: Executor,
  rows: readonly Parameters<typeof repositoryOf>[0][],
): Promise<RepositoryWithReplicas[]> {
  const replicas = new Map<string, Replica[]>(rows.map(({ id }) => [id, []]));
  for (const ids of chunksOf([...replicas.keys()])) {
    const found = await db
      .selectFrom("replicas")
      .selectAll()
      .where("repository_id", "in", ids)
      .orderBy("repository_id")
      .orderBy("position")
      .execute();
    for (const row of found) replicas.get(row.repository_id)?.push(replicaOf(row));
  }
  return rows.map((row) => ({ repository: repositoryOf(row), replicas: replicas.get(row.id) ?? [] }));
}

function sortColumn(sort: Sort): "name" | "pushed_ms" | "created_ms" {
  switch (sort) {
    case "name":
    case "-name":
      return "name";
    case "pushed":
    case "-pushed":
      return "pushed_ms";
    case "created":
    case "-created":
      return "created_ms";
  }
}

function encodeCursor(sort: Sort, { key, name }: Position): string {
  return Buffer.from(JSON.stringify([sort, key ?? null, name])).toString("base64url");
}

function decodeCursor(cursor: string, sort: Sort): Position {
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(cursor, "base64url").toString("utf8"));
  } catch {
    parsed = undefined;
  }
  if (Array.isArray(parsed) && parsed.length === 3 && parsed[0] === sort && typeof parsed[2] === "string") {
    const key: unknown = parsed[1];
    const wantsKey = sortColumn(sort) !== "name";
    if (wantsKey && typeof key === "number" && Number.isSafeInteger(key)) return { key, name: parsed[2] };
    if (!wantsKey && key === null) return { key: undefined, name: parsed[2] };
  }
  throw new GitmeshError("bad-request", "the cursor is not one that this list gave");
}
