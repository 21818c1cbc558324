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
    if (suspects !== undefined) await this.#verification.request(id, suspects.repositoryIds, suspects.verifiedBeforeMs);
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

  remove(id: string): Promise<void> {
    return this.#database.write(
      async (trx) => {
        const node = await trx.selectFrom("nodes").select("url").where("id", "=", id).executeTakeFirst();
        const { numDeletedRows } = await trx.deleteFrom("nodes").where("id", "=", id).executeTakeFirst();
        if (node === undefined || numDeletedRows === 0n)
          throw new GitmeshError("node-not-found", `no repository server has the id ${id}`);
        await trx.deleteFrom("node_states").where("node_id", "=", id).execute();
        await trx.deleteFrom("leaving_replicas").where("node_id", "=", id).execute();
        await trx.deleteFrom("work").where("node_id", "=", id).execute();
        const replicas = await trx.selectFrom("replicas").select("repository_id").where("node_id", "=", id).execute();
        const repositoryIds = replicas.map(({ repository_id }) => repository_id);
        await lockRepositories(this.#database, trx, repositoryIds);
        await trx.deleteFrom("replicas").where("node_id", "=", id).execute();
        await refreshHealth(trx, repositoryIds);
        const detail = `${node.url}, with ${repositoryIds.length} replica${repositoryIds.length === 1 ? "" : "s"}`;
        await this.#events.append(trx, [{ kind: "node-removed", nodeId: id, detail }]);
        crashPoint("node-removal.rows-deleted");
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

/** A number as part of the statement: PostgreSQL would take a parameter inside CASE for text. */
export function integer(value: number) {
  if (!Number.isSafeInteger(value)) throw new RangeError(`not an integer: ${value}`);
  return sql.lit(value);
}
