/** The life of a server process: until a signal, then as much of a graceful end as the limit allows. */
import type { Clock } from "./clock.ts";
import { messageOf } from "./errors.ts";
import type { Logger } from "./log.ts";

export interface LifecycleOptions {
  readonly log: Logger;
  readonly clock: Clock;
  /** Longest time for `close`, ms. */
  readonly shutdownMs: number;
  readonly close: () => Promise<void>;
}

/**
 * Resolves with the exit status when the process is to end: SIGTERM, SIGINT, a supervisor that is gone, or `fail`.
 * A second signal does not wait.
 */
export class Lifecycle {
  readonly #options: LifecycleOptions;
  readonly #ended = Promise.withResolvers<number>();
  #stopping = false;

  constructor(options: LifecycleOptions) {
    this.#options = options;
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => this.#stop(0, signal));
    // Started by `gitmesh up`: when that is killed, its servers are not to stay behind.
    process.on("disconnect", () => this.#stop(0, "the supervisor is gone"));
    process.on("uncaughtException", (error) => this.#crash(error));
    process.on("unhandledRejection", (error) => this.#crash(error));
  }

  get ended(): Promise<number> {
    return this.#ended.promise;
  }

  /** Ends the process with status 1. */
  fail(reason: string): void {
    this.#stop(1, reason);
  }

  #crash(error: unknown): void {
    this.#options.log.fatal({ err: error }, "a bug: the process ends");
    this.#ended.resolve(1);
  }

  #stop(status: number, reason: string): void {
    const { log, clock, shutdownMs, close } = this.#options;
    if (this.#stopping) {
      this.#ended.resolve(status);
      return;
    }
    this.#stopping = true;
    log.info({ reason }, "stopping");
    clock.timer(shutdownMs, () => this.#ended.resolve(status));
    close().then(
      () => this.#ended.resolve(status),
      (error: unknown) => {
        log.error({ error: messageOf(error) }, "stopping failed");
        this.#ended.resolve(1);
      },
    );
  }
}
