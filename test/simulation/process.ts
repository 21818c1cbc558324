/**
 * A simulated process: it can crash (all that it was doing vanishes), start again and be stopped for a while. What
 * happens to it comes through `deliver`, what it waits for through its clock.
 */
import { v7 as uuid } from "uuid";
import type { Clock } from "../../src/base/clock.ts";
import type { Random } from "./random.ts";
import type { Simulation } from "./simulation.ts";

/** The wall clock at the beginning, ms since 1970. */
const startMs = 1_800_000_000_000;

export class Process {
  readonly name: string;
  readonly sim: Simulation;
  /** Which start of the process runs; what was meant for an earlier one is dropped. */
  incarnation = 0;
  running = false;
  paused = false;
  /** What its wall clock is ahead, ms. */
  skewMs = 0;
  /** Called at a crash, then forgotten: connections that break. */
  readonly onCrash = new Set<() => void>();
  /** Called with each message or statement of the process, to let it crash right there. */
  beforeStep: () => void = () => {};
  #held: (() => void)[] = [];

  constructor(name: string, sim: Simulation) {
    this.name = name;
    this.sim = sim;
  }

  start(): void {
    this.incarnation += 1;
    this.running = true;
    this.sim.trace(`${this.name} starts`);
  }

  crash(): void {
    if (!this.running) return;
    this.sim.trace(`${this.name} crashes`);
    this.running = false;
    this.incarnation += 1;
    this.paused = false;
    this.#held = [];
    this.beforeStep = () => {};
    const broken = [...this.onCrash];
    this.onCrash.clear();
    for (const tell of broken) tell();
  }

  pause(): void {
    this.paused = this.running;
  }

  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    const held = this.#held;
    this.#held = [];
    // One after the other, as what arrived meanwhile is read.
    for (const run of held) this.sim.schedule(0, run);
  }

  /** Runs `run` in the process if the start of this number still runs; later if it stands still. */
  deliver(incarnation: number, run: () => void): void {
    if (incarnation !== this.incarnation || !this.running) return;
    if (this.paused) {
      this.#held.push(() => this.deliver(incarnation, run));
      return;
    }
    run();
  }

  /** Resolves in `ms`, if the process still runs then. */
  pauseFor(ms: number): Promise<void> {
    const { incarnation } = this;
    return new Promise((resolve) => {
      this.sim.schedule(ms, () => this.deliver(incarnation, resolve));
    });
  }
}

/** The clock of one start of a process; it stands still for ever when that has ended. */
export class ProcessClock implements Clock {
  readonly #process: Process;
  readonly #incarnation: number;
  readonly #random: Random;
  readonly #bootMs: number;
  /** How fast it goes: 1 is right. */
  readonly #rate: number;

  constructor(process: Process, random: Random, rate: number) {
    this.#process = process;
    this.#incarnation = process.incarnation;
    this.#random = random;
    this.#bootMs = process.sim.nowMs;
    this.#rate = rate;
  }

  nowMs(): number {
    return Math.floor(startMs + this.#process.skewMs + this.#process.sim.nowMs * this.#rate);
  }

  monotonicMs(): number {
    return (this.#process.sim.nowMs - this.#bootMs) * this.#rate;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted === true) {
        resolve();
        return;
      }
      const done = (): void => {
        cancel();
        signal?.removeEventListener("abort", done);
        resolve();
      };
      const cancel = this.timer(ms, done);
      signal?.addEventListener("abort", done, { once: true });
    });
  }

  timer(ms: number, callback: () => void): () => void {
    return this.#process.sim.schedule(ms / this.#rate, () => this.#process.deliver(this.#incarnation, callback));
  }

  random(): number {
    return this.#random.next();
  }

  uuid(): string {
    const random = Uint8Array.from({ length: 16 }, () => this.#random.below(256));
    return uuid({ msecs: this.nowMs(), seq: this.#random.below(2 ** 31), random });
  }
}
