/**
 * The new values that this process has staged lately: that they are here, and all that they reach, was checked a moment
 * ago, so that a ref can be set to them without asking git again. Forgetting one costs only that question.
 */
import type { ObjectId } from "../protocol/ref-name.ts";

const entriesMax = 10_000;

export class StagedTips {
  /** Oldest first. */
  readonly #entries = new Set<string>();
  #moment = 0;

  /** Another as soon as a copy is forgotten, of whichever repository. */
  get moment(): number {
    return this.#moment;
  }

  /** `moment` is that of when the copy was opened: if one was forgotten since, it may have been this. */
  add(repositoryId: string, oids: Iterable<ObjectId>, moment: number): void {
    if (moment !== this.#moment) return;
    for (const oid of oids) {
      this.#entries.delete(`${repositoryId} ${oid}`);
      this.#entries.add(`${repositoryId} ${oid}`);
    }
    for (const oldest of this.#entries) {
      if (this.#entries.size <= entriesMax) break;
      this.#entries.delete(oldest);
    }
  }

  has(repositoryId: string, oid: ObjectId): boolean {
    return this.#entries.has(`${repositoryId} ${oid}`);
  }

  /** The copy that they were staged in is not there any more. */
  forget(repositoryId: string): void {
    this.#moment += 1;
    for (const entry of this.#entries) if (entry.startsWith(`${repositoryId} `)) this.#entries.delete(entry);
  }
}
