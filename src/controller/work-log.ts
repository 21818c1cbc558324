/**
 * Steps of the repair, and verifications, as people see them, through whichever controller: those that take a moment or
 * fail are written to the store, with their progress, at most once a second.
 */
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { WorkKind, WorkRecord } from "../store/activity.ts";
import type { Repository, Store } from "../store/store.ts";

/** Shorter ones are over before anybody could look. */
const worthTellingMs = 300;
const tellAgainMs = 1000;
const failuresKeptMax = 10_000;

export interface WorkLogDependencies {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
}

export class WorkLog {
  readonly #deps: WorkLogDependencies;
  /** Failures in a row, and the last reason, by repository and node. */
  readonly #failures = new Map<string, { readonly count: number; readonly reason: string }>();

  constructor(deps: WorkLogDependencies) {
    this.#deps = deps;
  }

  /** Runs a step; throws what it throws. What cannot be written does not matter to it. */
  async run(
    repository: Pick<Repository, "id" | "name">,
    step: { readonly kind: WorkKind; readonly nodeId: string },
    work: (onProgress: (text: string) => void) => Promise<void>,
  ): Promise<void> {
    const { clock } = this.#deps;
    const key = `${repository.id} ${step.nodeId}`;
    const startedMs = clock.nowMs();
    const before = this.#failures.get(key);
    let progress = -1;
    let detail = "";
    let told = before !== undefined;
    const record = (more: Partial<WorkRecord>): WorkRecord => ({
      repositoryId: repository.id,
      nodeId: step.nodeId,
      repositoryName: repository.name,
      kind: step.kind,
      state: "running",
      startedMs,
      updatedMs: clock.nowMs(),
      progress,
      detail,
      failures: before?.count ?? 0,
      ...more,
    });
    let running = true;
    let cancel = (): void => {};
    const tell = (): void => {
      told = true;
      // Again when that is written: never two at a time, and nothing after the end.
      void this.#write(record({})).then(() => {
        if (running) cancel = clock.timer(tellAgainMs, tell);
      });
    };
    cancel = clock.timer(worthTellingMs, tell);
    try {
      await work((text) => {
        progress = progressOf(text) ?? progress;
        detail = lastLine(text) || detail;
      });
      running = false;
      cancel();
      this.#failures.delete(key);
      if (told) await this.#forget(repository.id, step.nodeId);
    } catch (error) {
      running = false;
      cancel();
      await this.#failed(repository, record({ state: "failed", detail: messageOf(error) }), before?.reason);
      throw error;
    }
  }

  /** The same reason again and again is one event. */
  async #failed(
    repository: Pick<Repository, "id" | "name">,
    record: WorkRecord,
    reasonBefore: string | undefined,
  ): Promise<void> {
    const failures = record.failures + 1;
    if (this.#failures.size >= failuresKeptMax) this.#failures.clear();
    this.#failures.set(`${record.repositoryId} ${record.nodeId}`, { count: failures, reason: record.detail });
    await this.#write({ ...record, failures });
    if (reasonBefore === record.detail) return;
    const { id, name } = repository;
    try {
      await this.#deps.store.addEvent({
        kind: "repair-failed",
        repository: { id, name },
        nodeId: record.nodeId,
        detail: `${record.kind}: ${record.detail}`,
      });
    } catch (error) {
      this.#deps.log.debug({ error: messageOf(error) }, "cannot write an event");
    }
  }

  async #write(record: WorkRecord): Promise<void> {
    try {
      await this.#deps.store.saveWork(record);
    } catch (error) {
      this.#deps.log.debug({ error: messageOf(error) }, "cannot write the progress of a repair");
    }
  }

  async #forget(repositoryId: string, nodeId: string): Promise<void> {
    try {
      await this.#deps.store.removeWork(repositoryId, nodeId);
    } catch (error) {
      this.#deps.log.debug({ error: messageOf(error) }, "cannot write the end of a repair");
    }
  }
}

/** Done part of a fetch, 0 to 1, from git's words; undefined where they have none. */
export function progressOf(text: string): number | undefined {
  const [, phase, percent] = [...text.matchAll(/(Receiving objects|Resolving deltas):\s+(\d{1,3})%/g)].at(-1) ?? [];
  if (percent === undefined) return undefined;
  const part = Math.min(100, Number(percent)) / 100;
  return phase === "Receiving objects" ? 0.9 * part : 0.9 + 0.1 * part;
}

function lastLine(text: string): string {
  return (
    text
      .split(/[\r\n]+/)
      .map((line) => line.trim())
      .findLast((line) => line !== "") ?? ""
  ).slice(0, 200);
}
