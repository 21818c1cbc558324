/** Repositories as records: made, found, changed, deleted. Lists are in repository-pages.ts. */
import type { RepositoryCounts } from "../activity.ts";
import type { Selectable, SelectQueryBuilder } from "kysely";
import { crashPoint } from "../../base/crash-point.ts";
import { GitmeshError } from "../../base/errors.ts";
import { refNameToBytes } from "../../protocol/ref-name.ts";
import type { NewRepository, Replica, Repository, RepositoryPatch, RepositoryWithReplicas } from "../store.ts";
import type { Database, Executor } from "./database.ts";
import type { Events } from "./events.ts";
import { lockRepository, refreshHealth } from "./repository-lock.ts";
import { replicaOf, repositoryOf } from "./rows.ts";
import { textOf, type ReplicaTable, type RepositoryTable, type Schema } from "./schema.ts";

export class Repositories {
  readonly #database: Database;
  readonly #events: Events;

  constructor(database: Database, events: Events) {
    this.#database = database;
    this.#events = events;
  }

  async create(repository: NewRepository): Promise<void> {
    const ready = repository.placements.filter(({ created }) => created).length;
    const { replicasWanted, placements } = repository;
    const row = {
      id: repository.id,
      name: repository.name,
      object_format: repository.objectFormat,
      default_branch: refNameToBytes(repository.defaultBranch),
      description: repository.description,
      replicas_wanted: replicasWanted,
      deny_deletes: 0,
      deny_non_fast_forwards: 0,
      generation: 0,
      created_ms: repository.createdMs,
      pushed_ms: -1,
      degraded: ready < replicasWanted ? 1 : 0,
      unhealthy: ready === replicasWanted && placements.length === replicasWanted ? 0 : 1,
      ahead_generation: -1,
    };
    const replicas = placements.map(({ nodeId, created }, position) => ({
      repository_id: repository.id,
      node_id: nodeId,
      position,
      state: created ? "READY" : "STALE",
      generation: created ? 0 : -1,
      missed_generation: -1,
      reason: created ? "" : "not created yet",
      state_since_ms: repository.createdMs,
      size_bytes: 0,
      // There is nothing in it yet that could be damaged.
      verified_ms: created ? repository.createdMs : -1,
      damaged: 0,
      copy_number: repository.createdMs,
    }));
    await this.#refusingTakenNames(repository.name, () =>
      this.#database.write(
        async (trx) => {
          await trx.insertInto("repositories").values(row).execute();
          if (replicas.length > 0) await trx.insertInto("replicas").values(replicas).execute();
          await this.#events.append(trx, [{ kind: "repository-created", repository }]);
          crashPoint("create.rows-written");
        },
        { idempotent: false },
      ),
    );
  }

  find(name: string): Promise<RepositoryWithReplicas | undefined> {
    return this.#one((query) => query.where("repositories.name", "=", name));
  }

  get(id: string): Promise<RepositoryWithReplicas | undefined> {
    return this.#one((query) => query.where("repositories.id", "=", id));
  }

  async update(id: string, patch: RepositoryPatch): Promise<Repository> {
    const { name, defaultBranch, description, replicasWanted, denyDeletes, denyNonFastForwards } = patch;
    const set = {
      ...(name === undefined ? {} : { name }),
      ...(defaultBranch === undefined ? {} : { default_branch: refNameToBytes(defaultBranch) }),
      ...(description === undefined ? {} : { description }),
      ...(replicasWanted === undefined ? {} : { replicas_wanted: replicasWanted }),
      ...(denyDeletes === undefined ? {} : { deny_deletes: denyDeletes ? 1 : 0 }),
      ...(denyNonFastForwards === undefined ? {} : { deny_non_fast_forwards: denyNonFastForwards ? 1 : 0 }),
    };
    return this.#refusingTakenNames(name ?? "", () =>
      this.#database.write(
        async (trx) => {
          const row = await lockRepository(this.#database, trx, id);
          if (row === undefined) throw new GitmeshError("repository-not-found", `no repository has the id ${id}`);
          if (Object.keys(set).length === 0) return repositoryOf(row);
          await trx.updateTable("repositories").set(set).where("id", "=", id).execute();
          if (replicasWanted !== undefined) await refreshHealth(trx, [id]);
          const updated = repositoryOf({ ...row, ...set });
          await this.#tellChanges(trx, repositoryOf(row), updated);
          crashPoint("update.rows-written");
          return updated;
        },
        // A second run could undo what another changed after the first.
        { idempotent: false },
      ),
    );
  }

  /** Returns the replicas it had. The tombstone stays for ever: a node may come back after any time. */
  delete(id: string, nowMs: number): Promise<readonly Replica[]> {
    return this.#database.write(
      async (trx) => {
        const row = await lockRepository(this.#database, trx, id);
        if (row === undefined) throw new GitmeshError("repository-not-found", `no repository has the id ${id}`);
        const replicas = await trx
          .selectFrom("replicas")
          .selectAll()
          .where("repository_id", "=", id)
          .orderBy("position")
          .execute();
        await trx.deleteFrom("refs").where("repository_id", "=", id).execute();
        await trx.deleteFrom("ref_log").where("repository_id", "=", id).execute();
        await trx.deleteFrom("replicas").where("repository_id", "=", id).execute();
        await trx.deleteFrom("leaving_replicas").where("repository_id", "=", id).execute();
        await trx.deleteFrom("work").where("repository_id", "=", id).execute();
        await trx.deleteFrom("repositories").where("id", "=", id).execute();
        await trx
          .insertInto("tombstones")
          .values({ repository_id: id, name: textOf(row.name), deleted_ms: nowMs })
          .execute();
        const repository = { id, name: textOf(row.name) };
        await this.#events.append(trx, [{ kind: "repository-deleted", repository }]);
        crashPoint("delete.rows-deleted");
        return replicas.map(replicaOf);
      },
      { idempotent: false },
    );
  }

  async deletedMs(id: string): Promise<number | undefined> {
    const row = await this.#database.read((db) =>
      db.selectFrom("tombstones").select("deleted_ms").where("repository_id", "=", id).executeTakeFirst(),
    );
    return row?.deleted_ms;
  }

  /** Each number by itself: then each is read from an index. */
  count(): Promise<RepositoryCounts> {
    return this.#database.read(async (db) => {
      const all = db.selectFrom("repositories");
      const number = all.select((eb) => eb.fn.countAll<number>().as("number"));
      const { number: total } = await number.executeTakeFirstOrThrow();
      const { number: degraded } = await number.where("degraded", "=", 1).executeTakeFirstOrThrow();
      const { number: behind } = await number.where("ahead_generation", ">=", 0).executeTakeFirstOrThrow();
      const wanted = all.select("replicas_wanted as number").limit(1);
      const least = await wanted.orderBy("replicas_wanted").executeTakeFirst();
      const most = await wanted.orderBy("replicas_wanted", "desc").executeTakeFirst();
      return { total, degraded, behind, wantedLeast: least?.number ?? 0, wantedMost: most?.number ?? 0 };
    });
  }

  /** What is the same as before is no event. */
  async #tellChanges(trx: Executor, before: Repository, after: Repository): Promise<void> {
    const repository = { id: after.id, name: after.name };
    const detail = changesBetween(before, after);
    await this.#events.append(trx, [
      ...(before.name === after.name
        ? []
        : [{ kind: "repository-renamed" as const, repository, detail: `was ${before.name}` }]),
      ...(detail === "" ? [] : [{ kind: "repository-changed" as const, repository, detail }]),
    ]);
  }

  /** One round trip: this is on the way of every read. */
  async #one(where: (query: JoinedQuery) => JoinedQuery): Promise<RepositoryWithReplicas | undefined> {
    const rows = await this.#database.read((db) =>
      where(
        db
          .selectFrom("repositories")
          .leftJoin("replicas", "replicas.repository_id", "repositories.id")
          .selectAll("repositories")
          .select([
            "replicas.repository_id",
            "replicas.node_id",
            "replicas.position",
            "replicas.state",
            "replicas.generation as replica_generation",
            "replicas.missed_generation",
            "replicas.reason",
            "replicas.state_since_ms",
            "replicas.size_bytes",
            "replicas.verified_ms",
            "replicas.damaged",
            "replicas.copy_number",
          ]),
      )
        .orderBy("replicas.position")
        .execute(),
    );
    const [first] = rows;
    if (first === undefined) return undefined;
    const replicas: Replica[] = [];
    for (const row of rows) {
      if (row.repository_id === null) continue;
      // All columns of a replica are there when one is: they are not nullable.
      const replica = { ...row, generation: row.replica_generation } as unknown as Selectable<ReplicaTable>;
      replicas.push(replicaOf(replica));
    }
    return { repository: repositoryOf(first), replicas };
  }

  async #refusingTakenNames<T>(name: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!this.#database.isDuplicate(error)) throw error;
      throw new GitmeshError("repository-exists", `there is a repository named ${name}`, { cause: error });
    }
  }
}

/** In words; "" when only the name differs. */
function changesBetween(before: Repository, after: Repository): string {
  const changes: string[] = [];
  const short = (name: string): string => name.replace(/^refs\/heads\//, "");
  if (before.replicasWanted !== after.replicasWanted)
    changes.push(`replicas ${before.replicasWanted} -> ${after.replicasWanted}`);
  if (before.defaultBranch !== after.defaultBranch)
    changes.push(`default branch ${short(before.defaultBranch)} -> ${short(after.defaultBranch)}`);
  if (before.description !== after.description) changes.push("description");
  if (before.denyDeletes !== after.denyDeletes)
    changes.push(after.denyDeletes ? "deletes are refused" : "deletes are allowed");
  if (before.denyNonFastForwards !== after.denyNonFastForwards)
    changes.push(after.denyNonFastForwards ? "non-fast-forwards are refused" : "non-fast-forwards are allowed");
  return changes.join(", ");
}

type JoinedQuery = SelectQueryBuilder<
  Schema & { replicas: { [K in keyof ReplicaTable]: ReplicaTable[K] | null } },
  "repositories" | "replicas",
  Selectable<RepositoryTable> & { [K in Exclude<keyof ReplicaTable, "generation">]: ReplicaTable[K] | null } & {
    replica_generation: number | null;
  }
>;
