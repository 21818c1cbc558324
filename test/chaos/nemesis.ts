/**
 * What goes wrong, when: faults drawn from a shuffled bag, so that each has its turn, two at a time, each undone by itself.
 * Everything that it draws comes from the seed.
 */
import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { TestDatabase } from "../support/databases.ts";
import type { Network } from "./network.ts";
import { Random } from "./random.ts";
import type { Replicas } from "./replicas.ts";
import type { ChaosServers } from "./servers.ts";

/** What a fault may touch. */
export interface Stage {
  readonly servers: ChaosServers;
  readonly network: Network;
  readonly database: TestDatabase;
  readonly replicas: Replicas;
  readonly random: Random;
  /** Takes things ("node-1", "link a b") so that no other fault touches them; false when one of them is taken. */
  readonly claim: (...things: string[]) => boolean;
  /** Waits while the fault lasts; less when the end has come. */
  readonly hold: (leastMs: number, mostMs: number) => Promise<void>;
  readonly say: (what: string) => void;
  /** Aborts when the end has come, and all other faults are undone. */
  readonly end: AbortSignal;
}

export interface Fault {
  readonly kind: string;
  /**
   * It takes a copy away. A cluster promises to survive one such loss at a time: it waits for a moment when no other fault
   * is at work and each replica is whole.
   */
  readonly destroys?: true;
  /** Does it, holds, and undoes it. Gives false when there was nothing to do it to. */
  run(stage: Stage): Promise<boolean | void>;
}

export interface NemesisOptions {
  readonly seed: number;
  readonly faults: readonly Fault[];
  readonly servers: ChaosServers;
  readonly network: Network;
  readonly database: TestDatabase;
  readonly replicas: Replicas;
  readonly logFile: string;
  readonly onViolation: (detail: string) => void;
}

const lanes = 2;
const pauseMs = [500, 3500] as const;
const wholeLimitMs = 60_000;

export class Nemesis {
  readonly #options: NemesisOptions;
  readonly #stop = new AbortController();
  readonly #claimed = new Set<string>();
  readonly #busy = new Set<number>();
  readonly #startMs = performance.now();
  /** The lane that wants no other fault now. */
  #alone: number | undefined;
  #bag: Fault[] = [];
  /** How often each was done, and how often there was no occasion. */
  readonly done = new Map<string, number>();
  readonly skipped = new Map<string, number>();

  constructor(options: NemesisOptions) {
    this.#options = options;
  }

  async run(durationMs: number): Promise<void> {
    const end = setTimeout(() => this.#stop.abort(), durationMs);
    const bagRandom = Random.of(this.#options.seed, "bag");
    try {
      await Promise.all(Array.from({ length: lanes }, (_, lane) => this.#lane(lane, bagRandom)));
    } finally {
      clearTimeout(end);
    }
  }

  async #lane(lane: number, bagRandom: Random): Promise<void> {
    const random = Random.of(this.#options.seed, `lane ${lane}`);
    while (!this.#stop.signal.aborted) {
      await this.#sleep(random.between(...pauseMs));
      while (this.#alone !== undefined && this.#alone !== lane && !this.#stop.signal.aborted) await this.#sleep(100);
      if (this.#stop.signal.aborted) return;
      const fault = this.#draw(bagRandom);
      this.#busy.add(lane);
      try {
        const happened = fault.destroys ? await this.#destroy(fault, lane, random) : await this.#do(fault, random);
        count(happened ? this.done : this.skipped, fault.kind);
      } catch (error) {
        this.#options.onViolation(`the fault ${fault.kind} could not be done or undone: ${String(error)}`);
      } finally {
        this.#busy.delete(lane);
        if (this.#alone === lane) this.#alone = undefined;
      }
    }
  }

  #draw(random: Random): Fault {
    if (this.#bag.length === 0) this.#bag = random.shuffled(this.#options.faults);
    const fault = this.#bag.pop();
    if (fault === undefined) throw new RangeError("there are no faults");
    return fault;
  }

  /** Waits for a moment when a copy may be lost. */
  async #destroy(fault: Fault, lane: number, random: Random): Promise<boolean> {
    if (this.#alone !== undefined) return false;
    this.#alone = lane;
    const endMs = performance.now() + wholeLimitMs;
    for (;;) {
      const whole = this.#busy.size === 1 && (await this.#options.replicas.areReady());
      if (whole) break;
      if (performance.now() > endMs || this.#stop.signal.aborted) {
        if (this.#busy.size === 1)
          this.say(`not all READY in time for ${fault.kind}: ${this.#options.replicas.lastTrouble}`);
        return false;
      }
      await this.#sleep(200);
    }
    return await this.#do(fault, random, () => (this.#alone = undefined));
  }

  /** `onHold`: others may go on. */
  async #do(fault: Fault, random: Random, onHold: () => void = () => {}): Promise<boolean> {
    const { servers, network, database, replicas } = this.#options;
    const claimed: string[] = [];
    const stage: Stage = {
      servers,
      network,
      database,
      replicas,
      random,
      claim: (...things) => {
        if (things.some((thing) => this.#claimed.has(thing))) return false;
        for (const thing of things) this.#claimed.add(thing);
        claimed.push(...things);
        return true;
      },
      hold: async (leastMs, mostMs) => {
        onHold();
        await this.#sleep(random.between(leastMs, mostMs));
      },
      say: (what) => this.say(`${fault.kind}: ${what}`),
      end: this.#stop.signal,
    };
    try {
      return (await fault.run(stage)) !== false;
    } finally {
      for (const thing of claimed) this.#claimed.delete(thing);
    }
  }

  say(text: string): void {
    const line = `${new Date().toISOString()} +${((performance.now() - this.#startMs) / 1000).toFixed(1)} s ${text}`;
    appendFileSync(this.#options.logFile, `${line}\n`);
  }

  async #sleep(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#stop.signal }).catch(() => {});
  }
}

function count(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
