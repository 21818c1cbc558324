/**
 * The commit of a push: the one place where refs change. One transaction holds the repository's row from the first
 * statement to the last, so that decisions about one repository follow one another.
 *
 * A COMMIT without an answer needs nothing special: the transaction is run again, and as it looks for its own push id
 * under the lock (which the first run, if it is still under way, holds), it finds out exactly what happened.
 */
import type { Selectable } from "kysely";
import { crashPoint } from "../../base/crash-point.ts";
import { refNameFromBytes } from "../../protocol/ref-name.ts";
import { raiseAhead } from "./adoption.ts";
import { decideCommit } from "../commit-rules.ts";
import type { CommitOutcome, RefCommit } from "../store.ts";
import { outcomeUnknown, type Database, type Executor } from "./database.ts";
import type { Events } from "./events.ts";
import { appendToLog, findLoggedPush, type LoggedPush } from "./ref-log.ts";
import { readConcernedRefs, writeRefs } from "./refs.ts";
import { lockRepository, refreshHealth } from "./repository-lock.ts";
import { textOf, type ReplicaTable, type RepositoryTable } from "./schema.ts";

export class RefTransaction {
  readonly #database: Database;
  readonly #events: Events;

  constructor(database: Database, events: Events) {
    this.#database = database;
    this.#events = events;
  }

  commit(commit: RefCommit): Promise<CommitOutcome> {
    let mayBeCommitted = false;
    return this.#database.write(
      async (trx) => {
        const outcome = await this.#run(trx, commit);
        // Deleted together with the log that would tell: it may have been committed, and seen, before that.
        if (outcome.kind === "repository-gone" && mayBeCommitted)
          throw outcomeUnknown(new Error("the repository was deleted meanwhile"));
        if (outcome.kind === "committed") mayBeCommitted = true;
        return outcome;
      },
      { idempotent: true },
    );
  }

  async #run(trx: Executor, commit: RefCommit): Promise<CommitOutcome> {
    const repository = await lockRepository(this.#database, trx, commit.repositoryId);
    if (repository === undefined) return { kind: "repository-gone" };
    const earlier = await findLoggedPush(trx, repository.id, commit.pushId);
    if (earlier !== undefined) return outcomeAgain(commit, earlier);
    const seenGeneration = Math.max(repository.ahead_generation, commit.seenGeneration);
    if (seenGeneration > repository.generation) {
      await raiseAhead(trx, repository.id, repository.ahead_generation, seenGeneration);
      return { kind: "store-behind", generation: repository.generation, seenGeneration };
    }
    const { current, below } = await readConcernedRefs(this.#database, trx, repository.id, commit.changes);
    const { results, changes } = decideCommit({
      policy: {
        denyDeletes: repository.deny_deletes === 1,
        denyNonFastForwards: repository.deny_non_fast_forwards === 1,
        defaultBranch: refNameFromBytes(repository.default_branch),
      },
      current,
      below,
      changes: commit.changes,
      atomic: commit.atomic,
    });
    if (results.length > 0 && results.every(({ refusal }) => refusal !== undefined))
      return { kind: "refused", results };
    if (changes.length === 0) {
      const { generation } = repository;
      return { kind: "committed", generation, results, changes, applyNodeIds: [], staleNodeIds: [] };
    }
    const replicas = await trx
      .selectFrom("replicas")
      .selectAll()
      .where("repository_id", "=", repository.id)
      .orderBy("position")
      .execute();
    // What was staged in a copy that is not there any more does not count.
    const staged = new Set(commit.stagedNodeIds);
    for (const { node_id, copy_number } of replicas) {
      if ((commit.copies.get(node_id) ?? copy_number) !== copy_number) staged.delete(node_id);
    }
    const stagedReady = replicas.filter(({ state, node_id }) => state === "READY" && staged.has(node_id)).length;
    if (stagedReady < commit.writeQuorum) return { kind: "no-quorum", stagedReady, needed: commit.writeQuorum };
    const push: LoggedPush = {
      generation: repository.generation + 1,
      pushId: commit.pushId,
      committedMs: commit.committedMs,
      changes,
      refused: results.filter(({ refusal }) => refusal !== undefined),
      applyNodeIds: nodeIds(
        replicas,
        ({ state, node_id }) => (state === "READY" || state === "PREPARING") && staged.has(node_id),
      ),
      staleNodeIds: nodeIds(replicas, ({ state, node_id }) => state === "READY" && !staged.has(node_id)),
      actor: commit.actor ?? "",
      stagedMs: commit.stagedMs ?? {},
    };
    await this.#write(
      trx,
      repository,
      push,
      nodeIds(replicas, ({ node_id }) => !staged.has(node_id)),
    );
    const { generation, applyNodeIds, staleNodeIds } = push;
    return { kind: "committed", generation, results, changes, applyNodeIds, staleNodeIds };
  }

  async #write(
    trx: Executor,
    repository: Selectable<RepositoryTable>,
    push: LoggedPush,
    missedNodeIds: readonly string[],
  ): Promise<void> {
    const { generation, committedMs } = push;
    await writeRefs(this.#database, trx, repository.id, push.changes);
    await appendToLog(trx, repository.id, push);
    await trx
      .updateTable("repositories")
      .set({ generation, pushed_ms: committedMs })
      .where("id", "=", repository.id)
      .execute();
    if (missedNodeIds.length > 0) {
      await trx
        .updateTable("replicas")
        .set({ missed_generation: generation })
        .where("repository_id", "=", repository.id)
        .where("node_id", "in", missedNodeIds)
        .execute();
    }
    if (push.staleNodeIds.length > 0) {
      await trx
        .updateTable("replicas")
        .set({ state: "STALE", reason: `missed generation ${generation}`, state_since_ms: committedMs })
        .where("repository_id", "=", repository.id)
        .where("node_id", "in", push.staleNodeIds)
        .execute();
      await refreshHealth(trx, [repository.id]);
      const { id, name } = repository;
      await this.#events.append(
        trx,
        push.staleNodeIds.map((nodeId) => ({
          kind: "replica-stale" as const,
          repository: { id, name: textOf(name) },
          nodeId,
          detail: `missed generation ${generation}`,
        })),
      );
    }
    crashPoint("push.refs-written");
  }
}

function nodeIds(
  replicas: readonly Selectable<ReplicaTable>[],
  predicate: (replica: Selectable<ReplicaTable>) => boolean,
): string[] {
  return replicas.filter(predicate).map((replica) => replica.node_id);
}

/** What the push was told, or would have been, when it was committed. */
function outcomeAgain(commit: RefCommit, push: LoggedPush): CommitOutcome {
  const { generation, changes, applyNodeIds, staleNodeIds } = push;
  const refusals = new Map(push.refused.map(({ name, refusal }) => [name, refusal]));
  const results = commit.changes.map(({ name }) => ({ name, refusal: refusals.get(name) }));
  return { kind: "committed", generation, results, changes, applyNodeIds, staleNodeIds };
}
