/**
 * When the store has lost something (it was restored from a backup): notes which repositories are behind their replicas,
 * and takes over the refs that a person decided to adopt from them.
 */
import { GitmeshError } from "../../base/errors.ts";
import { refNameToBytes } from "../../protocol/ref-name.ts";
import type { NodeRegistration, RefAdoption, RepositoryWithReplicas } from "../store.ts";
import { chunksOf } from "./chunks.ts";
import type { Database, Executor } from "./database.ts";
import type { Events } from "./events.ts";
import { appendToLog } from "./ref-log.ts";
import { writeRefs } from "./refs.ts";
import type { RepositoryPages } from "./repository-pages.ts";
import { lockRepository, refreshHealth } from "./repository-lock.ts";
import { textOf } from "./schema.ts";

export class Adoptions {
  readonly #database: Database;
  readonly #pages: RepositoryPages;
  readonly #events: Events;

  constructor(database: Database, pages: RepositoryPages, events: Events) {
    this.#database = database;
    this.#pages = pages;
    this.#events = events;
  }

  /** A copy on this node is at `generation`. True when that is later than the store's. */
  noteAhead(repositoryId: string, nodeId: string, generation: number, nowMs: number): Promise<boolean> {
    return this.#database.write(
      async (trx) => {
        const repository = await lockRepository(this.#database, trx, repositoryId);
        if (repository === undefined || repository.generation >= generation) return false;
        await raiseAhead(trx, repositoryId, repository.ahead_generation, generation);
        const reason = `ahead of the metadata store: generation ${generation} on disk`;
        const { numUpdatedRows } = await trx
          .updateTable("replicas")
          .set({ state: "QUARANTINED", reason, state_since_ms: nowMs })
          .where("repository_id", "=", repositoryId)
          .where("node_id", "=", nodeId)
          .where("state", "!=", "QUARANTINED")
          .executeTakeFirst();
        await refreshHealth(trx, [repositoryId]);
        if (numUpdatedRows > 0n) {
          const told = { id: repositoryId, name: textOf(repository.name) };
          await this.#events.append(trx, [{ kind: "replica-quarantined", repository: told, nodeId, detail: reason }]);
        }
        return true;
      },
      { idempotent: true },
    );
  }

  /** Repositories of which the registering node has a later generation than the store, whether it is placed there or not. */
  async noteInventory({ inventory, id, nowMs }: NodeRegistration): Promise<readonly string[]> {
    const ahead: string[] = [];
    for (const chunk of chunksOf(inventory.filter(({ generation }) => generation > 0))) {
      const onDisk = new Map(chunk.map(({ repositoryId, generation }) => [repositoryId, generation]));
      const rows = await this.#database.read((db) =>
        db
          .selectFrom("repositories")
          .select(["id", "generation"])
          .where("id", "in", [...onDisk.keys()])
          .execute(),
      );
      for (const row of rows) {
        const generation = onDisk.get(row.id) ?? -1;
        if (generation > row.generation && (await this.noteAhead(row.id, id, generation, nowMs))) ahead.push(row.id);
      }
    }
    return ahead;
  }

  listBehind(): Promise<readonly RepositoryWithReplicas[]> {
    return this.#pages.listBehind();
  }

  /** Those of these ids that the store knows neither as a repository nor as a deleted one. */
  async unknown(repositoryIds: readonly string[]): Promise<readonly string[]> {
    const unknown = new Set(repositoryIds);
    for (const chunk of chunksOf(repositoryIds)) {
      await this.#database.read(async (db) => {
        const repositories = await db.selectFrom("repositories").select("id").where("id", "in", chunk).execute();
        const tombstones = await db
          .selectFrom("tombstones")
          .select("repository_id as id")
          .where("repository_id", "in", chunk)
          .execute();
        for (const { id } of [...repositories, ...tombstones]) unknown.delete(id);
      });
    }
    return [...unknown];
  }

  /**
   * One transaction. False when the repository is not as expected any more. Afterwards all replicas are STALE: those
   * that have everything prove it, the others catch up from them.
   */
  async adopt(adoption: RefAdoption): Promise<boolean> {
    try {
      return await this.#database.write((trx) => this.#adopt(trx, adoption), { idempotent: false });
    } catch (error) {
      if (!this.#database.isDuplicate(error)) throw error;
      const { name } = adoption.create;
      throw new GitmeshError("repository-exists", `there is another repository named ${name}`, { cause: error });
    }
  }

  async #adopt(trx: Executor, adoption: RefAdoption): Promise<boolean> {
    const { repositoryId, expectedGeneration, generation, changes, nodeIds, refillNodeIds, nowMs } = adoption;
    const repository = await lockRepository(this.#database, trx, repositoryId);
    if (repository?.generation !== expectedGeneration) return false;
    // A copy that came meanwhile has not been looked at.
    if (repository !== undefined && repository.ahead_generation !== adoption.expectedAheadGeneration) return false;
    if (repository === undefined) {
      if (await isTombstoned(trx, repositoryId)) return false;
      await insertRepository(trx, adoption);
    }
    await writeRefs(this.#database, trx, repositoryId, changes);
    await appendToLog(trx, repositoryId, {
      generation,
      pushId: adoption.adoptionId,
      committedMs: nowMs,
      changes,
      refused: [],
      applyNodeIds: [],
      staleNodeIds: [],
      actor: "adoption",
      stagedMs: {},
    });
    await trx
      .updateTable("repositories")
      .set({ generation, ahead_generation: -1, pushed_ms: nowMs })
      .where("id", "=", repositoryId)
      .execute();
    const stale = {
      state: "STALE",
      generation: -1,
      missed_generation: generation,
      reason: `refs adopted at generation ${generation}`,
      state_since_ms: nowMs,
      verified_ms: -1,
    };
    await trx.updateTable("replicas").set(stale).where("repository_id", "=", repositoryId).execute();
    if (refillNodeIds.length > 0) {
      await trx
        .updateTable("replicas")
        .set({ damaged: 1 })
        .where("repository_id", "=", repositoryId)
        .where("node_id", "in", refillNodeIds)
        .execute();
    }
    const rows = await trx
      .selectFrom("replicas")
      .select(["node_id", "position"])
      .where("repository_id", "=", repositoryId)
      .execute();
    const first = Math.max(-1, ...rows.map(({ position }) => position)) + 1;
    const added = nodeIds
      .filter((nodeId) => !rows.some(({ node_id }) => node_id === nodeId))
      .map((nodeId, index) => ({
        ...stale,
        repository_id: repositoryId,
        node_id: nodeId,
        position: first + index,
        damaged: 0,
        copy_number: nowMs,
        size_bytes: 0,
      }));
    if (added.length > 0) await trx.insertInto("replicas").values(added).execute();
    await refreshHealth(trx, [repositoryId]);
    const name = repository === undefined ? adoption.create.name : textOf(repository.name);
    const detail = `its refs were taken over from its replicas at generation ${generation}`;
    await this.#events.append(trx, [{ kind: "repository-adopted", repository: { id: repositoryId, name }, detail }]);
    return true;
  }
}

/** To be called with the repository's row locked. */
export async function raiseAhead(
  trx: Executor,
  repositoryId: string,
  known: number,
  generation: number,
): Promise<void> {
  if (known >= generation) return;
  await trx.updateTable("repositories").set({ ahead_generation: generation }).where("id", "=", repositoryId).execute();
}

async function isTombstoned(trx: Executor, repositoryId: string): Promise<boolean> {
  const row = await trx
    .selectFrom("tombstones")
    .select("repository_id")
    .where("repository_id", "=", repositoryId)
    .executeTakeFirst();
  return row !== undefined;
}

async function insertRepository(trx: Executor, { repositoryId, create, nowMs }: RefAdoption): Promise<void> {
  await trx
    .insertInto("repositories")
    .values({
      id: repositoryId,
      name: create.name,
      object_format: create.objectFormat,
      default_branch: refNameToBytes(create.defaultBranch),
      description: "",
      replicas_wanted: create.replicasWanted,
      deny_deletes: 0,
      deny_non_fast_forwards: 0,
      generation: 0,
      created_ms: nowMs,
      pushed_ms: -1,
      degraded: 1,
      unhealthy: 1,
      ahead_generation: -1,
    })
    .execute();
}
