/**
 * The ref log: what each committed ref transaction changed, compressed. Large ones are cut into parts, so that no
 * statement is larger than a database takes (MariaDB: max_allowed_packet, 16 MiB, and bytes count twice in it).
 */
import { promisify } from "node:util";
import { deflate, deflateSync, inflate, inflateSync } from "node:zlib";
import type { PushRecord } from "../activity.ts";
import type { RefChange, RefLogEntry, RefResult } from "../store.ts";
import type { Database, Executor } from "./database.ts";

/** With names of 1024 bytes and sha256 a part stays under 5 MiB. */
const partItemsMax = 4000;
/** Parts read in one statement. */
const partsMax = 64;
/** Bytes of changes after which a read of the log ends early, between two entries: they are all in memory. */
const changesBytesMax = 8 * 1024 * 1024;
/** Of a change beside the name: three object ids. */
const changeBytes = 120;
/** Above this, (de)compression leaves the event loop alone. */
const syncBytesMax = 64 * 1024;

/** An entry with what else is needed to give a push's outcome again. */
export interface LoggedPush extends RefLogEntry {
  readonly refused: readonly RefResult[];
  readonly applyNodeIds: readonly string[];
  readonly staleNodeIds: readonly string[];
  readonly actor: string;
  readonly stagedMs: Readonly<Record<string, number>>;
}

/** The JSON of a part; what is optional is in the first. */
interface Part {
  readonly changes: [name: string, oldOid: string | null, newOid: string | null, peeled: string | null][];
  readonly refused: [name: string, refusal: string][];
  readonly apply?: readonly string[];
  readonly stale?: readonly string[];
  readonly actor?: string;
  readonly staged?: Readonly<Record<string, number>>;
}

/** Throws a duplicate key error if the push was logged before. */
export async function appendToLog(trx: Executor, repositoryId: string, push: LoggedPush): Promise<void> {
  const parts = partsOf(push);
  for (const [part, content] of parts.entries()) {
    const changes = await compress(Buffer.from(JSON.stringify(content)));
    await trx
      .insertInto("ref_log")
      .values({
        repository_id: repositoryId,
        generation: push.generation,
        part,
        parts: parts.length,
        push_id: push.pushId,
        committed_ms: push.committedMs,
        changes,
      })
      .execute();
  }
}

export async function findLoggedPush(
  db: Executor,
  repositoryId: string,
  pushId: string,
): Promise<LoggedPush | undefined> {
  const rows = await db
    .selectFrom("ref_log")
    .select(["generation", "push_id", "committed_ms", "changes"])
    .where("repository_id", "=", repositoryId)
    .where("push_id", "=", pushId)
    .orderBy("part")
    .execute();
  const [first] = rows;
  if (first === undefined) return undefined;
  return assemble(first, await Promise.all(rows.map((row) => decode(row.changes))));
}

export class RefLog {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Entries above `after`; may give fewer than `limit` when they are large, but at least one if there is one. */
  async read(repositoryId: string, after: number, limit: number): Promise<readonly RefLogEntry[]> {
    const entries: RefLogEntry[] = [];
    let bytes = 0;
    let parts: Part[] = [];
    let next = { generation: after + 1, part: 0 };
    while (entries.length < limit && bytes < changesBytesMax) {
      const { generation, part } = next;
      const rowsMax = Math.min(partsMax, limit - entries.length);
      const rows = await this.#database.read((db) =>
        db
          .selectFrom("ref_log")
          .select(["generation", "part", "parts", "push_id", "committed_ms", "changes"])
          .where("repository_id", "=", repositoryId)
          .where("generation", ">=", generation)
          .where((eb) => eb.or([eb("generation", ">", generation), eb("part", ">=", part)]))
          .orderBy("generation")
          .orderBy("part")
          .limit(rowsMax)
          .execute(),
      );
      for (const row of rows) {
        parts.push(await decode(row.changes));
        next = { generation: row.generation, part: row.part + 1 };
        if (row.part + 1 < row.parts) continue;
        const entry = assemble(row, parts);
        parts = [];
        const { generation, pushId, committedMs } = entry;
        entries.push({ generation, pushId, committedMs, changes: entry.changes });
        for (const { name } of entry.changes) bytes += name.length + changeBytes;
        if (bytes >= changesBytesMax) break;
      }
      if (rows.length < rowsMax) break;
    }
    return entries;
  }

  /** What is told of a push has its first changes only: those of the first part. */
  async listPushes(repositoryId: string, limit: number): Promise<readonly PushRecord[]> {
    const rows = await this.#database.read((db) =>
      db
        .selectFrom("ref_log")
        .select(["generation", "push_id", "committed_ms", "changes"])
        .where("repository_id", "=", repositoryId)
        .where("part", "=", 0)
        .orderBy("generation", "desc")
        .limit(limit)
        .execute(),
    );
    return Promise.all(
      rows.map(async (row) => {
        const { generation, pushId, committedMs, actor, changes, stagedMs } = assemble(row, [
          await decode(row.changes),
        ]);
        const refs = changes.map(({ name, oldOid, newOid }) => ({ name, oldOid, newOid }));
        return { generation, pushId, committedMs, actor, refs, stagedMs };
      }),
    );
  }

  async trim(repositoryId: string, keepFrom: number, committedBeforeMs: number): Promise<void> {
    // Controllers' clocks differ, so that times need not be in order: no gap is made.
    const young = await this.#database.read((db) =>
      db
        .selectFrom("ref_log")
        .select((eb) => eb.fn.min<number | null>("generation").as("first"))
        .where("repository_id", "=", repositoryId)
        .where("generation", "<", keepFrom)
        .where("committed_ms", ">=", committedBeforeMs)
        .executeTakeFirstOrThrow(),
    );
    const before = Math.min(keepFrom, young.first ?? keepFrom);
    await this.#database.statement((db) =>
      db.deleteFrom("ref_log").where("repository_id", "=", repositoryId).where("generation", "<", before).execute(),
    );
  }
}

function partsOf(push: LoggedPush): Part[] {
  const first: Part = {
    changes: [],
    refused: [],
    apply: push.applyNodeIds,
    stale: push.staleNodeIds,
    actor: push.actor,
    staged: push.stagedMs,
  };
  const parts: Part[] = [first];
  let current = first;
  const withRoom = (): Part => {
    if (current.changes.length + current.refused.length < partItemsMax) return current;
    current = { changes: [], refused: [] };
    parts.push(current);
    return current;
  };
  for (const { name, oldOid, newOid, peeled } of push.changes) {
    withRoom().changes.push([name, oldOid ?? null, newOid ?? null, peeled ?? null]);
  }
  for (const { name, refusal } of push.refused) {
    if (refusal !== undefined) withRoom().refused.push([name, refusal]);
  }
  return parts;
}

function assemble(
  row: { readonly generation: number; readonly push_id: string; readonly committed_ms: number },
  parts: readonly Part[],
): LoggedPush {
  const changes = parts.flatMap((part) =>
    part.changes.map(([name, oldOid, newOid, peeled]): RefChange => ({
      name,
      oldOid: oldOid ?? undefined,
      newOid: newOid ?? undefined,
      peeled: peeled ?? undefined,
    })),
  );
  return {
    generation: row.generation,
    pushId: row.push_id,
    committedMs: row.committed_ms,
    changes,
    refused: parts.flatMap((part) => part.refused.map(([name, refusal]) => ({ name, refusal }))),
    applyNodeIds: parts[0]?.apply ?? [],
    staleNodeIds: parts[0]?.stale ?? [],
    actor: parts[0]?.actor ?? "",
    stagedMs: parts[0]?.staged ?? {},
  };
}

async function compress(json: Buffer): Promise<Buffer> {
  return json.length <= syncBytesMax ? deflateSync(json, { level: 1 }) : promisify(deflate)(json);
}

async function decode(bytes: Uint8Array): Promise<Part> {
  const json = bytes.length <= syncBytesMax ? inflateSync(bytes) : await promisify(inflate)(bytes);
  // Written by appendToLog and by nothing else.
  return JSON.parse(json.toString("utf8")) as Part;
}
