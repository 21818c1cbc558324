/**
 * At most so many git operations at a time on this node. Who waits is served in turn by repository, so that one busy
 * repository does not starve the others; when too many wait, the next is refused at once.
 */
import { GitmeshError } from "../base/errors.ts";

export interface GitLimits {
  readonly gitProcessesMax: number;
  readonly gitQueueMax: number;
}

interface Waiter {
  readonly start: () => void;
}

export class GitLimiter {
  readonly #limits: GitLimits;
  /** Insertion order is the order of turns. */
  readonly #queues = new Map<string, Waiter[]>();
  #running = 0;
  #waiting = 0;

  constructor(limits: GitLimits) {
    this.#limits = limits;
  }

  /** Runs `work` when it is the repository's turn. Throws GitmeshError "busy" when too many wait already. */
  async run<T>(repositoryId: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    await this.#acquire(repositoryId, signal);
    return this.#runNow(work);
  }

  /**
   * The same for work that another one's progress waits for: when its turn is not at once, `meanwhile` runs first, and
   * only then does it wait. Throws GitmeshError "busy" before that when too many wait already.
   */
  async runAfter<T>(
    repositoryId: string,
    signal: AbortSignal | undefined,
    meanwhile: () => Promise<void>,
    work: () => Promise<T>,
  ): Promise<T> {
    if (this.#running < this.#limits.gitProcessesMax) return this.run(repositoryId, signal, work);
    this.#admit();
    try {
      await meanwhile();
    } finally {
      this.#waiting -= 1;
    }
    return this.run(repositoryId, signal, work);
  }

  async #runNow<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } finally {
      this.#release();
    }
  }

  #admit(): void {
    if (this.#waiting >= this.#limits.gitQueueMax) {
      throw new GitmeshError("busy", `${this.#waiting} requests wait for a git process already`);
    }
    this.#waiting += 1;
  }

  async #acquire(repositoryId: string, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    if (this.#running < this.#limits.gitProcessesMax) {
      this.#running += 1;
      return;
    }
    this.#admit();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter: Waiter = { start: resolve };
    const queue = this.#queues.get(repositoryId) ?? [];
    queue.push(waiter);
    this.#queues.set(repositoryId, queue);
    const leave = (): void => {
      const position = queue.indexOf(waiter);
      if (position < 0) return;
      queue.splice(position, 1);
      if (queue.length === 0 && this.#queues.get(repositoryId) === queue) this.#queues.delete(repositoryId);
      this.#waiting -= 1;
      reject(signal?.reason as Error);
    };
    signal?.addEventListener("abort", leave, { once: true });
    try {
      await promise;
    } finally {
      signal?.removeEventListener("abort", leave);
    }
  }

  /** Hands the place on to the next repository in turn. */
  #release(): void {
    const next = this.#queues.entries().next().value;
    if (next === undefined) {
      this.#running -= 1;
      return;
    }
    const [repositoryId, queue] = next;
    const waiter = queue.shift();
    this.#queues.delete(repositoryId);
    if (queue.length > 0) this.#queues.set(repositoryId, queue);
    this.#waiting -= 1;
    waiter?.start();
  }
}
