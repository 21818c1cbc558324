/** The life of a server process: until a signal, then as much of a graceful end as the limit allows. */
import type { Clock } from "./clock.ts";
import { messageOf } from "./errors.ts";
import type { Logger } from "./log.ts";

/** For what follows once the running requests are finished or cut off: leases, stores, processes. */
const closingMs = 3000;

export interface LifecycleOptions {
  readonly log: Logger;
  readonly clock: Clock;
  /** How long `close` lets running requests finish, ms; it gets a little more for the rest. */
  readonly shutdownMs: number;
  readonly close: () => Promise<void>;
}

/** Ctrl-C under npm arrives twice, from the terminal and from npm: that is no second request. */
const sameSignalMs = 500;

/**
 * Resolves with the exit status when the process is to end: SIGTERM, SIGINT, a supervisor that is gone, or `fail`.
 * A second signal does not wait.
 */
export class Lifecycle {
  readonly #options: LifecycleOptions;
  readonly #ended = Promise.withResolvers<number>();
  #stoppingMs: number | undefined;

  constructor(options: LifecycleOptions) {
    this.#options = options;
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => this.#onSignal(signal));
    // Started by `gitmesh up`: when that is killed, its servers are not to stay behind.
    process.on("disconnect", () => this.#stop(0, "the supervisor is gone"));
    // oxlint-disable-next-line typescript/no-unnecessary-boolean-literal-compare -- undefined without a supervisor
    if (process.connected === false) this.#stop(0, "the supervisor is gone");
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

  #onSignal(signal: string): void {
    const sinceMs = this.#options.clock.monotonicMs() - (this.#stoppingMs ?? Infinity);
    if (sinceMs > sameSignalMs) this.#ended.resolve(0);
    else this.#stop(0, signal);
  }

  #stop(status: number, reason: string): void {
    const { log, clock, shutdownMs, close } = this.#options;
    if (this.#stoppingMs !== undefined) return;
    this.#stoppingMs = clock.monotonicMs();
    log.info({ reason }, "stopping");
    clock.timer(shutdownMs + closingMs, () => this.#ended.resolve(status));
    close().then(
      () => this.#ended.resolve(status),
      (error: unknown) => {
        log.error({ error: messageOf(error) }, "stopping failed");
        this.#ended.resolve(1);
      },
    );
  }
}
