/**
 * What this controller counts for the charts: pushes, clones, bytes, how long pushes take. Kept for a few seconds, then
 * saved in the store, where every controller finds what the others counted.
 */
import { z } from "zod";
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Sample } from "../store/activity.ts";
import type { Store } from "../store/store.ts";

/** One sample is about this long. */
export const sampleMs = 10_000;
const saveMs = 2500;
/** Push times are counted in classes; each is this much wider than the one before. */
const ratio = 1.5;
const classes = 32;

const nodeNumbersSchema = z.object({ stages: z.int(), stageMs: z.number(), fetches: z.int() });
export const numbersSchema = z.object({
  pushes: z.int(),
  clones: z.int(),
  fetches: z.int(),
  bytesIn: z.number(),
  bytesOut: z.number(),
  /** Pushes by how long they took: see classOf. */
  pushTimes: z.array(z.int()),
  nodes: z.record(z.string(), nodeNumbersSchema),
});
type Numbers = z.infer<typeof numbersSchema>;

/** Samples of controllers and of nodes are told apart by their subjects. */
export const controllerSubject = "controller/";
export const nodeSubject = (nodeId: string): string => `node/${nodeId}`;

export interface MetricsOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
  /** Unique to this start of this controller; at most 40 characters. */
  readonly id: string;
}

export class Metrics {
  readonly #options: MetricsOptions;
  /** What is not saved for good yet, by start of its time. */
  readonly #unsaved = new Map<number, Numbers>();

  constructor(options: MetricsOptions) {
    this.#options = options;
  }

  /** A push was committed. */
  pushed(tookMs: number, stagedMs: Readonly<Record<string, number>>): void {
    const now = this.#now();
    now.pushes += 1;
    const index = classOf(tookMs);
    now.pushTimes[index] = (now.pushTimes[index] ?? 0) + 1;
    for (const [nodeId, ms] of Object.entries(stagedMs)) {
      const node = numbersOf(now, nodeId);
      node.stages += 1;
      node.stageMs += ms;
    }
  }

  /** A request of git-upload-pack was answered: only one with "done" is answered with a pack. */
  fetched(request: Buffer): void {
    if (!request.includes("0009done\n") && !request.includes("0008done")) return;
    if (request.includes("have ")) this.#now().fetches += 1;
    else this.#now().clones += 1;
  }

  /** A node served objects. */
  served(nodeId: string): void {
    numbersOf(this.#now(), nodeId).fetches += 1;
  }

  moved(bytesIn: number, bytesOut: number): void {
    const now = this.#now();
    now.bytesIn += bytesIn;
    now.bytesOut += bytesOut;
  }

  /** Saves at a steady pace until the signal aborts, and once more then. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#options.clock.sleep(saveMs, signal);
      await this.#save();
    }
  }

  async #save(): Promise<void> {
    const { store, log, id } = this.#options;
    if (this.#unsaved.size === 0) return;
    const current = this.#start();
    const before = [...this.#unsaved];
    const samples = before.map(([startMs, numbers]): Sample => {
      return { startMs, subject: `${controllerSubject}${id}`, numbers: JSON.stringify(numbers) };
    });
    try {
      await store.saveSamples(samples);
      for (const [startMs] of before) if (startMs !== current) this.#unsaved.delete(startMs);
    } catch (error) {
      log.debug({ error: messageOf(error) }, "cannot save what was counted");
      // The charts have a gap then; memory has none.
      for (const [startMs] of before) if (startMs < current - 60_000) this.#unsaved.delete(startMs);
    }
  }

  #start(): number {
    return Math.floor(this.#options.clock.nowMs() / sampleMs) * sampleMs;
  }

  #now(): Numbers {
    const start = this.#start();
    const known = this.#unsaved.get(start);
    if (known !== undefined) return known;
    const pushTimes = Array.from({ length: classes }, () => 0);
    const fresh = { pushes: 0, clones: 0, fetches: 0, bytesIn: 0, bytesOut: 0, pushTimes, nodes: {} };
    this.#unsaved.set(start, fresh);
    return fresh;
  }
}

function numbersOf(numbers: Numbers, nodeId: string): z.infer<typeof nodeNumbersSchema> {
  return (numbers.nodes[nodeId] ??= { stages: 0, stageMs: 0, fetches: 0 });
}

/** Class N has times up to ratio^N ms. */
export function classOf(ms: number): number {
  return Math.min(classes - 1, Math.max(0, Math.ceil(Math.log(Math.max(1, ms)) / Math.log(ratio))));
}

/** The time that `share` of the counted ones stayed below, ms, within its class in proportion; null when there are none. */
export function quantile(times: readonly number[], share: number): number | null {
  const total = times.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  let left = share * total;
  for (const [index, count] of times.entries()) {
    if (count > 0 && left <= count) {
      const lower = index === 0 ? 0 : ratio ** (index - 1);
      return Math.round(lower + (ratio ** index - lower) * (left / count));
    }
    left -= count;
  }
  return Math.round(ratio ** (times.length - 1));
}
