/** Refs as rows: read at one generation, read for a decision, written by a commit. */
import { sql } from "kysely";
import type { Clock } from "../../base/clock.ts";
import { GitmeshError } from "../../base/errors.ts";
import {
  refNameBytesMax,
  refNameFromBytes,
  refNameToBytes,
  type ObjectId,
  type RefName,
} from "../../protocol/ref-name.ts";
import { directoriesOf } from "../commit-rules.ts";
import type { RefChange, RefQuery, RefsAtGeneration, RequestedChange, StoredRef } from "../store.ts";
import { chunksOf } from "./chunks.ts";
import type { Database, Executor } from "./database.ts";

/** Refs read in one statement. */
const pageRefs = 10_000;
/** SQLite takes at most 500 terms in a compound select. */
const rangesMax = 400;
/** Reading this many neighbouring names costs about as much as one look by name. */
const spanRefsPerName = 20;
const slash = "/";
/** The character after "/": names below X/ are those from X/ to before X0. */
const afterSlash = "0";

interface RefRow {
  readonly name: Uint8Array;
  readonly oid: string;
  readonly peeled: string | null;
}

export class Refs {
  readonly #database: Database;
  readonly #clock: Clock;

  constructor(database: Database, clock: Clock) {
    this.#database = database;
    this.#clock = clock;
  }

  list(repositoryId: string, { prefix, contains = "", after, limit }: RefQuery): Promise<readonly StoredRef[]> {
    const part = refNameToBytes(contains);
    const { kind } = this.#database.engine;
    const offset = refNameToBytes(prefix).length + 1;
    return this.#database.read(async (db) => {
      const rows = await db
        .selectFrom("refs")
        .select(["name", "oid", "peeled"])
        .where("repository_id", "=", repositoryId)
        .where("name", ">", refNameToBytes(after ?? prefix))
        .where("name", "<", endOfPrefix(prefix))
        .$if(contains !== "", (query) =>
          query.where(
            kind === "postgres"
              ? sql<boolean>`position(${part} in substring(name from ${sql.lit(offset)})) > 0`
              : sql<boolean>`instr(substr(name, ${sql.lit(offset)}), ${part}) > 0`,
          ),
        )
        .orderBy("name")
        .limit(limit)
        .execute();
      return rows.map(refOf);
    });
  }

  async count(repositoryId: string, prefix: RefName): Promise<number> {
    const { count } = await this.#database.read((db) =>
      db
        .selectFrom("refs")
        .select((eb) => eb.fn.countAll<number>().as("count"))
        .where("repository_id", "=", repositoryId)
        .where("name", ">", refNameToBytes(prefix))
        .where("name", "<", endOfPrefix(prefix))
        .executeTakeFirstOrThrow(),
    );
    return count;
  }

  async readAll(repositoryId: string): Promise<RefsAtGeneration> {
    // One statement sees one moment: enough for a repository of ordinary size that has any ref.
    const rows = await this.#database.read((db) =>
      db
        .selectFrom("refs")
        .select((eb) => [
          "name",
          "oid",
          "peeled",
          eb.selectFrom("repositories").select("generation").where("id", "=", repositoryId).as("generation"),
        ])
        .where("repository_id", "=", repositoryId)
        .orderBy("name")
        .limit(pageRefs)
        .execute(),
    );
    const generation = rows[0]?.generation;
    if (generation === undefined || generation === null || rows.length === pageRefs)
      return this.#readByPages(repositoryId);
    return { generation, refs: rows.map(refOf) };
  }

  #readByPages(repositoryId: string): Promise<RefsAtGeneration> {
    return this.#database.snapshot(async (db) => {
      const repository = await db
        .selectFrom("repositories")
        .select("generation")
        .where("id", "=", repositoryId)
        .executeTakeFirst();
      if (repository === undefined)
        throw new GitmeshError("repository-not-found", `no repository has the id ${repositoryId}`);
      const refs: StoredRef[] = [];
      for (let after: Uint8Array = new Uint8Array(); ;) {
        const rows = await db
          .selectFrom("refs")
          .select(["name", "oid", "peeled"])
          .where("repository_id", "=", repositoryId)
          .where("name", ">", Buffer.from(after))
          .orderBy("name")
          .limit(pageRefs)
          .execute();
        for (const row of rows) refs.push(refOf(row));
        const last = rows.at(-1);
        if (last === undefined || rows.length < pageRefs) return { generation: repository.generation, refs };
        after = last.name;
        // SQLite answers synchronously: let others have their turn.
        await this.#clock.sleep(0);
      }
    });
  }
}

/** What commit-rules.ts needs to know of the stored refs, by index lookups only. */
export async function readConcernedRefs(
  database: Database,
  trx: Executor,
  repositoryId: string,
  changes: readonly RequestedChange[],
): Promise<{ readonly current: ReadonlyMap<RefName, ObjectId>; readonly below: readonly RefName[] }> {
  const names = new Set<RefName>();
  for (const { name, oldOid, newOid } of changes) {
    if (name.length > refNameBytesMax) continue;
    names.add(name);
    if (oldOid === undefined && newOid !== undefined) for (const directory of directoriesOf(name)) names.add(directory);
  }
  const current = new Map<RefName, ObjectId>();
  for (const chunk of chunksOf([...names].toSorted(compareNames))) {
    const keys = chunk.map(refNameToBytes);
    const [first, last] = [keys[0], keys.at(-1)];
    if (first === undefined || last === undefined) continue;
    const rows = await trx
      .selectFrom("refs")
      .select(["name", "oid"])
      .where("repository_id", "=", repositoryId)
      .where("name", "in", keys)
      // Right after a large push PostgreSQL has no statistics of it and would read every ref of the repository.
      .$if(database.engine.kind === "postgres", (query) => query.where("name", ">=", first).where("name", "<=", last))
      .execute();
    for (const row of rows) current.set(refNameFromBytes(row.name), row.oid);
  }
  return { current, below: await readBelow(trx, repositoryId, changes, current) };
}

/** Refs below created names: all of them, or of each name the first ones, one more than the push deletes there. */
async function readBelow(
  trx: Executor,
  repositoryId: string,
  changes: readonly RequestedChange[],
  current: ReadonlyMap<RefName, ObjectId>,
): Promise<RefName[]> {
  const created = changes
    .filter(
      ({ name, oldOid, newOid, refusal }) =>
        refusal === undefined &&
        oldOid === undefined &&
        newOid !== undefined &&
        name.length <= refNameBytesMax &&
        !current.has(name),
    )
    .map(({ name }) => name);
  return (await readBelowBySpan(trx, repositoryId, created)) ?? readBelowByName(trx, repositoryId, created, changes);
}

/**
 * Reads all names between the first and the last created one, which is little when they are new together. Gives up
 * (undefined) once looking at each created name is cheaper.
 */
async function readBelowBySpan(
  trx: Executor,
  repositoryId: string,
  created: readonly RefName[],
): Promise<RefName[] | undefined> {
  let first = created[0];
  let last = first;
  if (first === undefined || last === undefined) return [];
  for (const name of created) {
    if (name < first) first = name;
    if (name > last) last = name;
  }
  const names = new Set(created);
  const below: RefName[] = [];
  const to = refNameToBytes(last + afterSlash);
  let left = created.length * spanRefsPerName;
  for (let from: Uint8Array = refNameToBytes(first); left > 0; left -= pageRefs) {
    const rowsMax = Math.min(left, pageRefs);
    const rows = await trx
      .selectFrom("refs")
      .select("name")
      .where("repository_id", "=", repositoryId)
      .where("name", ">", Buffer.from(from))
      .where("name", "<", to)
      .orderBy("name")
      .limit(rowsMax)
      .execute();
    for (const row of rows) {
      from = row.name;
      const name = refNameFromBytes(row.name);
      if (directoriesOf(name).some((directory) => names.has(directory))) below.push(name);
    }
    if (rows.length < rowsMax) return below;
  }
  return undefined;
}

async function readBelowByName(
  trx: Executor,
  repositoryId: string,
  created: readonly RefName[],
  changes: readonly RequestedChange[],
): Promise<RefName[]> {
  const deletedBelow = new Map<RefName, number>();
  for (const { name, newOid } of changes) {
    if (newOid !== undefined) continue;
    for (const directory of directoriesOf(name)) deletedBelow.set(directory, (deletedBelow.get(directory) ?? 0) + 1);
  }
  const below: RefName[] = [];
  for (const chunk of chunksOf(created, rangesMax)) {
    const ranges = chunk.map((name) => {
      const from = refNameToBytes(name + slash);
      const to = refNameToBytes(name + afterSlash);
      const limit = sql.lit(1 + (deletedBelow.get(name) ?? 0));
      return sql`select name from (select name from refs where repository_id = ${repositoryId}
        and name >= ${from} and name < ${to} order by name limit ${limit}) below_one`;
    });
    const { rows } = await sql<{ name: Uint8Array }>`${sql.join(ranges, sql` union all `)}`.execute(trx);
    for (const row of rows) below.push(refNameFromBytes(row.name));
  }
  return below;
}

/** Deletes first, then creates and updates. */
export async function writeRefs(
  database: Database,
  trx: Executor,
  repositoryId: string,
  changes: readonly RefChange[],
): Promise<void> {
  const deletes = changes.filter(({ newOid }) => newOid === undefined);
  for (const chunk of chunksOf(deletes)) {
    await trx
      .deleteFrom("refs")
      .where("repository_id", "=", repositoryId)
      .where(
        "name",
        "in",
        chunk.map(({ name }) => refNameToBytes(name)),
      )
      .execute();
  }
  // In order of name: pages of the index are filled one after the other.
  const rows = changes
    .toSorted((a, b) => compareNames(a.name, b.name))
    .flatMap(({ name, newOid, peeled }) =>
      newOid === undefined
        ? []
        : [{ repository_id: repositoryId, name: refNameToBytes(name), oid: newOid, peeled: peeled ?? null }],
    );
  for (const chunk of chunksOf(rows)) {
    const insert = trx.insertInto("refs").values(chunk);
    if (database.engine.kind === "mysql") {
      await insert.onDuplicateKeyUpdate({ oid: sql`values(oid)`, peeled: sql`values(peeled)` }).execute();
    } else {
      await insert
        .onConflict((conflict) =>
          conflict
            .columns(["repository_id", "name"])
            .doUpdateSet((eb) => ({ oid: eb.ref("excluded.oid"), peeled: eb.ref("excluded.peeled") })),
        )
        .execute();
    }
  }
}

/** The first name above all that begin with the prefix, which ends with "/". */
function endOfPrefix(prefix: RefName): Buffer {
  return refNameToBytes(prefix.slice(0, -1) + afterSlash);
}

/** Bytewise, as names have one character a byte. */
function compareNames(a: RefName, b: RefName): number {
  return a < b ? -1 : Number(a > b);
}

function refOf(row: RefRow): StoredRef {
  return { name: refNameFromBytes(row.name), oid: row.oid, peeled: row.peeled ?? undefined };
}
