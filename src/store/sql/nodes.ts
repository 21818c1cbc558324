/** Repository servers as records: heartbeats, lists, removal. Registration is in registration.ts. */
import { sql } from "kysely";
import { crashPoint } from "../../base/crash-point.ts";
import { GitmeshError } from "../../base/errors.ts";
import type { Heartbeat, NodeRecord } from "../store.ts";
import { chunksOf } from "./chunks.ts";
import type { Database, Executor } from "./database.ts";
import type { Events } from "./events.ts";
import { lockRepositories, refreshHealth } from "./repository-lock.ts";
import { nodeOf } from "./rows.ts";
import { textOf } from "./schema.ts";
import type { Verification } from "./verification.ts";

const loadStep = 0.05;

export class Nodes {
  readonly #database: Database;
  readonly #verification: Verification;
  readonly #events: Events;

  constructor(database: Database, verification: Verification, events: Events) {
    this.#database = database;
    this.#verification = verification;
    this.#events = events;
  }

  async recordHeartbeat(heartbeat: Heartbeat): Promise<boolean> {
    const { id, bootId, diskUsage, diskFreeBytes, nowMs, lastHeartbeatMs } = heartbeat;
    const { numUpdatedRows } = await this.#database.statement((db) =>
      db
        .updateTable("nodes")
        .set({ heartbeat_ms: nowMs, disk_usage: diskUsage, disk_free_bytes: diskFreeBytes })
        .where("id", "=", id)
        .where("boot_id", "=", bootId)
        .$if(lastHeartbeatMs !== undefined, (query) => query.where("heartbeat_ms", ">=", lastHeartbeatMs ?? 0))
        .executeTakeFirst(),
    );
    if (numUpdatedRows === 0n) return false;
    if (heartbeat.loadAverage !== undefined) await this.#saveLoad(id, heartbeat.loadAverage);
    for (const chunk of chunksOf(heartbeat.sizes)) {
      const cases = chunk.map(({ repositoryId, sizeBytes }) => sql`when ${repositoryId} then ${integer(sizeBytes)}`);
      await this.#database.statement((db) =>
        db
          .updateTable("replicas")
          .set({ size_bytes: sql<number>`case repository_id ${sql.join(cases, sql` `)} else size_bytes end` })
          .where("node_id", "=", id)
          .where(
            "repository_id",
            "in",
            chunk.map(({ repositoryId }) => repositoryId),
          )
          .execute(),
      );
    }
    const { suspects } = heartbeat;
    if (suspects !== undefined) await this.#verification.request(id, suspects.repositoryIds, suspects.verified);
    return true;
  }

  async list(): Promise<readonly NodeRecord[]> {
    const rows = await this.#database.read((db) =>
      db
        .selectFrom("nodes")
        .leftJoin("node_states", "node_states.node_id", "nodes.id")
        .selectAll("nodes")
        .select(["node_states.draining", "node_states.told_dead", "node_states.load_average"])
        .orderBy("registered_ms")
        .orderBy("id")
        .execute(),
    );
    return rows.map(nodeOf);
  }

  setDraining(id: string, draining: boolean): Promise<void> {
    return this.#database.write(
      async (trx) => {
        const state = await this.#lockState(trx, id);
        if (state === undefined) throw new GitmeshError("node-not-found", `no repository server has the id ${id}`);
        if ((state.draining === 1) === draining) return;
        await trx
          .updateTable("node_states")
          .set({ draining: draining ? 1 : 0 })
          .where("node_id", "=", id)
          .execute();
        await this.#events.append(trx, [{ kind: draining ? "node-draining" : "node-undrained", nodeId: id }]);
      },
      { idempotent: true, retryDuplicates: true },
    );
  }

  tellLife(id: string, alive: boolean): Promise<void> {
    return this.#database.write(
      async (trx) => {
        const state = await this.#lockState(trx, id);
        if (state === undefined || (state.told_dead === 0) === alive) return;
        await trx
          .updateTable("node_states")
          .set({ told_dead: alive ? 0 : 1 })
          .where("node_id", "=", id)
          .execute();
        await this.#events.append(trx, [{ kind: alive ? "node-alive" : "node-dead", nodeId: id }]);
      },
      { idempotent: true, retryDuplicates: true },
    );
  }

  remove(id: string, { force }: { readonly force: boolean }): Promise<readonly string[]> {
    return this.#database.write(
      async (trx) => {
        const replicas = await trx.selectFrom("replicas").select("repository_id").where("node_id", "=", id).execute();
        const repositoryIds = replicas.map(({ repository_id }) => repository_id);
        await lockRepositories(this.#database, trx, repositoryIds);
        const needing = await namesOfNeeding(trx, id, force);
        if (needing.length > 0) return needing;
        const node = await trx.selectFrom("nodes").select("url").where("id", "=", id).executeTakeFirst();
        const { numDeletedRows } = await trx.deleteFrom("nodes").where("id", "=", id).executeTakeFirst();
        if (node === undefined || numDeletedRows === 0n)
          throw new GitmeshError("node-not-found", `no repository server has the id ${id}`);
        for (const table of ["node_states", "leaving_replicas", "work"] as const)
          await trx.deleteFrom(table).where("node_id", "=", id).execute();
        await trx.deleteFrom("replicas").where("node_id", "=", id).execute();
        await refreshHealth(trx, repositoryIds);
        const detail = `${node.url}, with ${repositoryIds.length} replica${repositoryIds.length === 1 ? "" : "s"}`;
        await this.#events.append(trx, [{ kind: "node-removed", nodeId: id, detail }]);
        crashPoint("node-removal.rows-deleted");
        return [];
      },
      { idempotent: false },
    );
  }

  /** The row of a node that is registered, made if there is none. */
  async #lockState(
    trx: Executor,
    id: string,
  ): Promise<{ readonly draining: number; readonly told_dead: number } | undefined> {
    const node = await trx.selectFrom("nodes").select("id").where("id", "=", id).executeTakeFirst();
    if (node === undefined) return undefined;
    const state = await trx
      .selectFrom("node_states")
      .select(["draining", "told_dead"])
      .where("node_id", "=", id)
      .$if(this.#database.engine.kind !== "sqlite", (query) => query.forUpdate())
      .executeTakeFirst();
    if (state !== undefined) return state;
    await trx.insertInto("node_states").values({ node_id: id, draining: 0, told_dead: 0, load_average: -1 }).execute();
    return { draining: 0, told_dead: 0 };
  }

  /** Of a node without a state there is none to be kept yet: its registration makes one. */
  async #saveLoad(id: string, loadAverage: number): Promise<void> {
    await this.#database.statement((db) =>
      db
        .updateTable("node_states")
        .set({ load_average: loadAverage })
        .where("node_id", "=", id)
        // A small change is not worth a write with each heartbeat.
        .where((eb) =>
          eb.or([eb("load_average", "<", loadAverage - loadStep), eb("load_average", ">", loadAverage + loadStep)]),
        )
        .execute(),
    );
  }
}

/** Repositories that the node's replica records cannot be taken from. */
async function namesOfNeeding(trx: Executor, nodeId: string, force: boolean): Promise<readonly string[]> {
  const completeElsewhere = sql<number>`(select count(*) from replicas other where other.repository_id = mine.repository_id
    and other.node_id <> mine.node_id and other.state = 'READY' and other.reason = '')`;
  const needed = force
    ? sql<number>`(case when mine.state = 'READY' then 1 else 0 end)`
    : sql<number>`repositories.replicas_wanted`;
  const rows = await trx
    .selectFrom("replicas as mine")
    .innerJoin("repositories", "repositories.id", "mine.repository_id")
    .select("repositories.name")
    .where("mine.node_id", "=", nodeId)
    .where(completeElsewhere, "<", needed)
    .orderBy("repositories.name")
    .execute();
  return rows.map(({ name }) => textOf(name));
}

/** A number as part of the statement: PostgreSQL would take a parameter inside CASE for text. */
export function integer(value: number) {
  if (!Number.isSafeInteger(value)) throw new RangeError(`not an integer: ${value}`);
  return sql.lit(value);
}
