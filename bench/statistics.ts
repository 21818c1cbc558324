/** What figures say: middles, spread, noise, and whether a target is met. Pure. */

export type Verdict =
  | "met"
  /** Missed, but by no more than the noise. */
  | "noise"
  | "missed"
  /** Nothing to compare with. */
  | "none";

/** NaN of nothing. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The value that 95 of 100 do not exceed, interpolated. NaN of nothing. */
export function p95(values: readonly number[]): number {
  return quantile(values, 0.95);
}

/**
 * How far the baseline is from itself: its samples, in the order in which they were taken, are parted in two ways (each
 * second one; the earlier from the later), and the larger ratio of the halves' medians counts. 0.1 means ten per cent.
 * Fewer than two samples say nothing: infinite.
 */
export function noise(samples: readonly number[]): number {
  if (samples.length < 2) return Number.POSITIVE_INFINITY;
  const half = Math.floor(samples.length / 2);
  const partings = [
    [samples.filter((_, index) => index % 2 === 0), samples.filter((_, index) => index % 2 === 1)],
    [samples.slice(0, half), samples.slice(samples.length - half)],
  ] as const;
  return Math.max(...partings.map(([one, other]) => distance(median(one), median(other))));
}

/** `ratio` is to be at most `target`; `relativeNoise` is that of the baseline. */
export function judge(ratio: number, target: number | undefined, relativeNoise: number): Verdict {
  if (target === undefined || Number.isNaN(ratio)) return "none";
  if (ratio <= target) return "met";
  return ratio <= target * (1 + relativeNoise) ? "noise" : "missed";
}

/** 0 for equal figures, 1 when one is twice the other. */
function distance(one: number, other: number): number {
  if (one === other) return 0;
  return Math.max(one, other) / Math.min(one, other) - 1;
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other);
  const place = share * (sorted.length - 1);
  const below = sorted[Math.floor(place)];
  const above = sorted[Math.ceil(place)];
  if (below === undefined || above === undefined) return Number.NaN;
  return below + (above - below) * (place - Math.floor(place));
}
