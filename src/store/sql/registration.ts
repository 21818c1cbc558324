/**
 * Takes a node in when its server starts: who it is, where it is, and whether its disk holds what the store believes.
 * Its disk is believed less than the store, and nothing on it is ever deleted for being unknown.
 */
import { sql, type Selectable } from "kysely";
import { crashPoint } from "../../base/crash-point.ts";
import type { NodeRegistration, RegistrationOutcome } from "../store.ts";
import { chunksOf } from "./chunks.ts";
import type { Database, Executor } from "./database.ts";
import type { Events } from "./events.ts";
import { integer } from "./nodes.ts";
import { lockRepositories, refreshHealth } from "./repository-lock.ts";
import type { ReplicaTable } from "./schema.ts";

type ReplicaRow = Pick<Selectable<ReplicaTable>, "repository_id" | "state" | "generation">;

export class Registrations {
  readonly #database: Database;
  readonly #events: Events;

  constructor(database: Database, events: Events) {
    this.#database = database;
    this.#events = events;
  }

  /** Without what is ahead of the store (adoption.ts). */
  register(registration: NodeRegistration): Promise<RegistrationOutcome> {
    return this.#database.write(
      (trx) => this.#run(trx, registration),
      // Two nodes with one URL at once: the second sees the first when it tries again.
      { idempotent: true, retryDuplicates: true },
    );
  }

  async #run(trx: Executor, registration: NodeRegistration): Promise<RegistrationOutcome> {
    const { id, url, bootId, nowMs } = registration;
    const holder = await trx
      .selectFrom("nodes")
      .select(["id", "heartbeat_ms"])
      .where("url", "=", url)
      .where("id", "!=", id)
      .executeTakeFirst();
    // Time to come was written by a clock that was wrong: it says nothing about who is alive now.
    const isAlive = (nodeId: string, heartbeatMs: number): boolean =>
      registration.isAlive(nodeId) ?? Math.abs(nowMs - heartbeatMs) < registration.nodeTimeoutMs;
    if (holder !== undefined && isAlive(holder.id, holder.heartbeat_ms))
      return { kind: "conflict", otherId: holder.id };
    const self = await trx
      .selectFrom("nodes")
      .select(["url", "boot_id", "heartbeat_ms"])
      .where("id", "=", id)
      .executeTakeFirst();
    // Its directory was copied, identity and all: two processes that take turns at being one replica would mix their disks.
    if (self !== undefined && self.url !== url && self.boot_id !== bootId && isAlive(id, self.heartbeat_ms))
      return { kind: "conflict", otherId: id };
    const onDisk = new Map(registration.inventory.map(({ repositoryId, generation }) => [repositoryId, generation]));
    const placed = await replicasOf(trx, id);
    const suspects = placed.filter((replica) => isWrong(replica, onDisk.get(replica.repository_id)));
    // A node that is known has replicas of its own; the one that had its URL may come back with its own, elsewhere.
    const heirOf = self === undefined ? holder?.id : undefined;
    const inherited = heirOf === undefined ? [] : await replicasOf(trx, heirOf);
    const lockedIds = [...suspects, ...inherited].map((replica) => replica.repository_id);
    await lockRepositories(this.#database, trx, lockedIds);
    const stale = [
      ...(await markWrong(trx, id, suspects, onDisk, nowMs)),
      ...(heirOf === undefined ? [] : await inherit(trx, heirOf, id, nowMs)),
    ];
    await refreshHealth(trx, lockedIds);
    if (heirOf !== undefined) await forget(trx, heirOf);
    else if (holder !== undefined)
      await trx
        .updateTable("nodes")
        .set({ url: `gone:${holder.id}` })
        .where("id", "=", holder.id)
        .execute();
    const bootIdBefore = await saveNode(trx, registration);
    await this.#tell(trx, registration, bootIdBefore, stale.length);
    crashPoint("register.rows-written");
    const known = new Set([...placed, ...inherited].map((replica) => replica.repository_id));
    const unknown = [...onDisk.keys()].filter((repositoryId) => !known.has(repositoryId));
    const deleted = await deletedOf(trx, unknown);
    return {
      kind: "registered",
      staleRepositoryIds: stale,
      deletedRepositoryIds: unknown.filter((repositoryId) => deleted.has(repositoryId)),
      orphanRepositoryIds: unknown.filter((repositoryId) => !deleted.has(repositoryId)),
      aheadRepositoryIds: [],
    };
  }

  /** One event for all of it: a node has many replicas. The same start of a node is told once. */
  async #tell(
    trx: Executor,
    { id, url, bootId }: NodeRegistration,
    bootIdBefore: string | undefined,
    stale: number,
  ): Promise<void> {
    if (bootIdBefore === bootId) return;
    const state = { draining: 0, told_dead: 0, load_average: -1 };
    const { numUpdatedRows } = await trx
      .updateTable("node_states")
      .set({ told_dead: 0 })
      .where("node_id", "=", id)
      .executeTakeFirst();
    if (numUpdatedRows === 0n)
      await trx
        .insertInto("node_states")
        .values({ ...state, node_id: id })
        .execute();
    const kind = bootIdBefore === undefined ? "node-joined" : "node-returned";
    const behind = stale === 0 ? "" : `, ${stale} replica${stale === 1 ? "" : "s"} to catch up`;
    await this.#events.append(trx, [{ kind, nodeId: id, detail: `${url}${behind}` }]);
  }
}

function replicasOf(trx: Executor, nodeId: string): Promise<ReplicaRow[]> {
  return trx
    .selectFrom("replicas")
    .select(["repository_id", "state", "generation"])
    .where("node_id", "=", nodeId)
    .execute();
}

/** `generation` undefined: not on the disk. */
function isWrong(replica: ReplicaRow, generation: number | undefined): boolean {
  if (replica.state === "QUARANTINED") return false;
  if (generation === undefined) return replica.state !== "STALE" || replica.generation > -1;
  return generation < replica.generation;
}

/** What the objects of a replica whose disk is not believed may lack: everything committed. */
const missedEverything = sql<number>`(select case when repositories.generation = 0 then -1 else repositories.generation end
  from repositories where repositories.id = replicas.repository_id)`;

/** Looks again, now that the repositories are locked, and marks those that are still wrong. */
async function markWrong(
  trx: Executor,
  nodeId: string,
  suspects: readonly ReplicaRow[],
  onDisk: ReadonlyMap<string, number>,
  nowMs: number,
): Promise<string[]> {
  const marked: string[] = [];
  for (const chunk of chunksOf(suspects)) {
    const rows = await trx
      .selectFrom("replicas")
      .select(["repository_id", "state", "generation"])
      .where("node_id", "=", nodeId)
      .where(
        "repository_id",
        "in",
        chunk.map((replica) => replica.repository_id),
      )
      .execute();
    const wrong = rows.filter((row) => isWrong(row, onDisk.get(row.repository_id))).map((row) => row.repository_id);
    if (wrong.length === 0) continue;
    const generations = wrong.map((id) => sql`when ${id} then ${integer(onDisk.get(id) ?? -1)}`);
    const reasons = wrong.map(
      (id) => sql`when ${id} then ${sql.lit(onDisk.has(id) ? "older on disk than confirmed" : "missing on disk")}`,
    );
    await trx
      .updateTable("replicas")
      .set({
        state: "STALE",
        generation: sql<number>`case repository_id ${sql.join(generations, sql` `)} end`,
        missed_generation: missedEverything,
        reason: sql<string>`case repository_id ${sql.join(reasons, sql` `)} end`,
        verified_ms: -1,
        copy_number: sql<number>`copy_number + 1`,
        state_since_ms: nowMs,
      })
      .where("node_id", "=", nodeId)
      .where("repository_id", "in", wrong)
      .execute();
    marked.push(...wrong);
  }
  return marked;
}

/** Gives the replicas of the node that had this URL to the one that has it now. */
async function inherit(trx: Executor, fromId: string, toId: string, nowMs: number): Promise<string[]> {
  const ids = (await replicasOf(trx, fromId)).map((replica) => replica.repository_id);
  await trx
    .updateTable("replicas")
    .set({
      node_id: toId,
      state: "STALE",
      generation: -1,
      missed_generation: missedEverything,
      reason: "disk replaced",
      state_since_ms: nowMs,
      verified_ms: -1,
      damaged: 0,
      copy_number: sql<number>`copy_number + 1`,
    })
    .where("node_id", "=", fromId)
    .execute();
  return ids;
}

async function forget(trx: Executor, nodeId: string): Promise<void> {
  await trx.deleteFrom("nodes").where("id", "=", nodeId).execute();
  await trx.deleteFrom("node_states").where("node_id", "=", nodeId).execute();
  await trx.deleteFrom("leaving_replicas").where("node_id", "=", nodeId).execute();
}

/** The boot id that the node had before; undefined for a new one. */
async function saveNode(trx: Executor, registration: NodeRegistration): Promise<string | undefined> {
  const { id, url, bootId, version, nowMs, diskUsage, diskFreeBytes } = registration;
  const row = {
    url,
    boot_id: bootId,
    version,
    heartbeat_ms: nowMs,
    disk_usage: diskUsage,
    disk_free_bytes: diskFreeBytes,
  };
  const before = await trx.selectFrom("nodes").select("boot_id").where("id", "=", id).executeTakeFirst();
  if (before !== undefined) await trx.updateTable("nodes").set(row).where("id", "=", id).execute();
  else
    await trx
      .insertInto("nodes")
      .values({ ...row, id, registered_ms: nowMs })
      .execute();
  return before?.boot_id;
}

async function deletedOf(trx: Executor, repositoryIds: readonly string[]): Promise<ReadonlySet<string>> {
  const deleted = new Set<string>();
  for (const chunk of chunksOf(repositoryIds)) {
    const rows = await trx
      .selectFrom("tombstones")
      .select("repository_id")
      .where("repository_id", "in", chunk)
      .execute();
    for (const row of rows) deleted.add(row.repository_id);
  }
  return deleted;
}
