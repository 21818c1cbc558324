/**
 * Messages between simulated processes, and calls made of them. A message is delayed, and may be lost, doubled or
 * overtaken; a link may be cut, in one direction or both. Nobody is told: who waits for an answer has time limits.
 */
import { NodeCallError } from "../../src/controller/node-call-error.ts";
import type { Process } from "./process.ts";
import type { Random } from "./random.ts";
import type { Simulation } from "./simulation.ts";

export interface NetworkFaults {
  /** Probability that a message is lost. */
  loss: number;
  /** Probability that a request arrives twice. */
  duplication: number;
  /** Probability that a message takes seconds. */
  straggling: number;
  /** Mean time of a message, ms. */
  delayMs: number;
}

export interface CallOptions {
  /** Limit of the whole call, ms. */
  readonly timeoutMs?: number;
  /** How long a callee may be cut off, stopped or gone before the caller gives up, ms. */
  readonly idleMs?: number;
  readonly signal?: AbortSignal;
  /** The request may arrive twice. */
  readonly mayRepeat?: boolean;
}

export class Network {
  readonly faults: NetworkFaults = { loss: 0, duplication: 0, straggling: 0, delayMs: 1 };
  readonly #sim: Simulation;
  readonly #random: Random;
  /** Links that are cut, as "from>to"; how often each was. */
  readonly #cut = new Map<string, number>();

  constructor(sim: Simulation, random: Random) {
    this.#sim = sim;
    this.#random = random;
  }

  cut(from: Process, to: Process): () => void {
    const link = `${from.name}>${to.name}`;
    this.#cut.set(link, (this.#cut.get(link) ?? 0) + 1);
    let isCut = true;
    return () => {
      if (!isCut) return;
      isCut = false;
      const left = (this.#cut.get(link) ?? 1) - 1;
      if (left === 0) this.#cut.delete(link);
      else this.#cut.set(link, left);
    };
  }

  isCut(from: Process, to: Process): boolean {
    return this.#cut.has(`${from.name}>${to.name}`);
  }

  /** Brings a message, perhaps. `refused` is called in `from` when `to` does not run. */
  send(from: Process, to: Process, what: string, arrive: () => void, refused?: () => void): void {
    const { faults } = this;
    from.beforeStep();
    if (!from.running) return;
    if (this.isCut(from, to) || this.#random.chance(faults.loss)) {
      this.#sim.trace(`${from.name} > ${to.name} ${what} lost`);
      return;
    }
    const straggles = this.#random.chance(faults.straggling);
    const delayMs = 0.05 + (straggles ? this.#random.between(100, 12_000) : this.#random.around(faults.delayMs));
    const { incarnation } = from;
    this.#sim.schedule(delayMs, () => {
      if (this.isCut(from, to)) return;
      if (!to.running) {
        if (refused !== undefined && !this.isCut(to, from))
          this.#sim.schedule(0.1, () => from.deliver(incarnation, refused));
        return;
      }
      to.deliver(to.incarnation, () => {
        if (this.#sim.isTraced) this.#sim.trace(`${from.name} > ${to.name} ${what}`);
        to.beforeStep();
        if (to.running) arrive();
      });
    });
  }

  /**
   * Has `handler` run at `to` and resolves with what it answers. Rejects with what it rejects with, or with a
   * NodeCallError that says "unreachable".
   */
  call<T>(
    from: Process,
    to: Process,
    what: string,
    options: CallOptions,
    handler: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const { incarnation } = from;
    const remote = new AbortController();
    let works = 0;
    let settled = false;
    const cleanUp: (() => void)[] = [];
    const settle = (end: () => void): void => {
      if (settled) return;
      settled = true;
      for (const clean of cleanUp) clean();
      end();
    };
    const fail = (message: string): void => settle(() => reject(new NodeCallError(message, { unreachable: true })));
    const answer = (kind: string, end: () => void): void => {
      works -= 1;
      this.send(to, from, `${what}: ${kind}`, () => settle(end));
    };
    const arrive = (): void => {
      works += 1;
      to.onCrash.add(reset);
      handler(remote.signal).then(
        (value) => answer("done", () => resolve(value)),
        (error: unknown) =>
          answer(`refused (${error instanceof Error ? error.message : String(error)})`, () => reject(error)),
      );
    };
    const reset = (): void => {
      works = 0;
      if (this.isCut(to, from) || !this.#random.chance(0.8)) return;
      this.#sim.schedule(this.#random.around(1), () => from.deliver(incarnation, () => fail("connection reset")));
    };
    cleanUp.push(() => to.onCrash.delete(reset));
    this.send(from, to, what, arrive, () => fail("connection refused"));
    if (options.mayRepeat === true && this.#random.chance(this.faults.duplication))
      this.send(from, to, `${what} again`, arrive);
    const later = (ms: number, run: () => void): void => {
      cleanUp.push(this.#sim.schedule(ms, () => from.deliver(incarnation, run)));
    };
    if (options.timeoutMs !== undefined)
      later(options.timeoutMs, () => fail(`no answer within ${options.timeoutMs} ms`));
    const { idleMs, signal } = options;
    if (idleMs !== undefined) {
      // Who works on it sends a sign of life all the time.
      const watch = (): void => {
        const alive = works > 0 && to.running && !to.paused && !this.isCut(to, from);
        if (alive) later(idleMs, watch);
        else fail(`no sign of life for ${idleMs} ms`);
      };
      later(idleMs, watch);
    }
    if (signal !== undefined) {
      const abort = (): void => {
        const reason: unknown = signal.reason;
        settle(() =>
          reject(reason instanceof NodeCallError ? reason : new NodeCallError("aborted", { unreachable: true })),
        );
        this.send(from, to, `${what}: abort`, () => remote.abort(new Error("the caller went away")));
      };
      if (signal.aborted) abort();
      else signal.addEventListener("abort", abort, { once: true });
      cleanUp.push(() => signal.removeEventListener("abort", abort));
    }
    return promise;
  }
}
