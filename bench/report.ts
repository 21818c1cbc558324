/** The table, and whether it is good enough. Pure. */
import type { Row, Samples, Target } from "./measurement.ts";
import type { BaselineName, PeerName } from "./peers.ts";
import { judge, median, noise, p95, type Verdict } from "./statistics.ts";

export interface Comparison {
  readonly row: string;
  readonly title: string;
  readonly against: BaselineName;
  readonly gitmesh: Figures;
  readonly baseline: Figures;
  readonly time: Ratio;
  readonly cpu: Ratio;
  /** The time's target is one of requests per second. */
  readonly isRate: boolean;
}

interface Figures {
  readonly samples: number;
  readonly medianS: number;
  readonly p95S: number;
  readonly cpuS: number;
  readonly privateBytes: number;
  readonly serverBytes: number;
}

interface Ratio {
  /** gitmesh's divided by the baseline's. */
  readonly ratio: number;
  readonly target: number | undefined;
  /** Of the baseline. */
  readonly noise: number;
  readonly verdict: Verdict;
}

export type SamplesOf = (row: string, peer: PeerName) => Samples | undefined;

/** Of each row with each baseline that was measured. */
export function compare(rows: readonly Row[], samplesOf: SamplesOf): Comparison[] {
  return rows.flatMap((row) =>
    (["kept", "plain"] as const).flatMap((against) => {
      const gitmesh = samplesOf(row.id, "gitmesh");
      const baseline = samplesOf(row.id, against);
      return gitmesh === undefined || baseline === undefined ? [] : [compareOne(row, against, gitmesh, baseline)];
    }),
  );
}

export function missed(comparisons: readonly Comparison[]): string[] {
  return comparisons.flatMap(({ row, against, time, cpu }) => [
    ...(time.verdict === "missed" ? [`${row} against ${against}: time`] : []),
    ...(cpu.verdict === "missed" ? [`${row} against ${against}: CPU`] : []),
  ]);
}

function compareOne(row: Row, against: BaselineName, gitmesh: Samples, baseline: Samples): Comparison {
  const target: Target = row[against] ?? {};
  const isRate = (row.kept ?? row.plain)?.rate !== undefined;
  const timeTarget = target.rate === undefined ? target.time : 1 / target.rate;
  return {
    row: row.id,
    title: row.title,
    against,
    gitmesh: figures(gitmesh),
    baseline: figures(baseline),
    time: ratio(gitmesh.seconds, baseline.seconds, timeTarget),
    cpu: ratio(gitmesh.cpuSeconds, baseline.cpuSeconds, target.cpu),
    isRate,
  };
}

function figures(samples: Samples): Figures {
  return {
    samples: samples.seconds.length,
    medianS: median(samples.seconds),
    p95S: p95(samples.seconds),
    cpuS: median(samples.cpuSeconds),
    privateBytes: samples.privateBytes,
    serverBytes: samples.serverBytes,
  };
}

function ratio(gitmesh: readonly number[], baseline: readonly number[], target: number | undefined): Ratio {
  const value = median(gitmesh) / median(baseline);
  const baselineNoise = noise(baseline);
  return { ratio: value, target, noise: baselineNoise, verdict: judge(value, target, baselineNoise) };
}

/** In Markdown. */
export function comparisonTable(comparisons: readonly Comparison[]): string {
  const rows = comparisons.map(({ title, against, gitmesh, baseline, time, cpu, isRate }) => [
    title,
    against,
    seconds(gitmesh.medianS, gitmesh.p95S),
    seconds(baseline.medianS, baseline.p95S),
    ratioText(time, isRate),
    targetText(time, isRate),
    Number.isFinite(time.noise) ? `${(time.noise * 100).toFixed(0)} %` : "unknown",
    `${short(gitmesh.cpuS)} / ${short(baseline.cpuS)}`,
    ratioText(cpu, false),
    targetText(cpu, false),
    `${megabytes(gitmesh.privateBytes)} / ${megabytes(baseline.privateBytes)}`,
  ]);
  return table(
    [
      "workload",
      "against",
      "gitmesh ms (p95)",
      "baseline ms (p95)",
      "ratio",
      "target",
      "noise",
      "CPU ms",
      "CPU ratio",
      "CPU target",
      "peak MB",
    ],
    rows,
  );
}

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`;
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}

export function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0);
}

function seconds(middle: number, high: number): string {
  return `${short(middle)} (${short(high)})`;
}

/** Milliseconds with three figures. */
function short(value: number): string {
  const ms = value * 1000;
  if (ms >= 100) return ms.toFixed(0);
  return ms.toFixed(ms >= 10 ? 1 : 2);
}

function ratioText({ ratio: value }: Ratio, isRate: boolean): string {
  // The baseline may have had nothing to do.
  if (!Number.isFinite(value)) return "";
  return isRate ? `${(1 / value).toFixed(1)}x` : value.toFixed(2);
}

function targetText({ target, verdict }: Ratio, isRate: boolean): string {
  if (target === undefined) return "";
  const text = isRate ? `${Math.round(1 / target)}x` : String(target);
  const words: Readonly<Record<Verdict, string>> = {
    met: "met",
    noise: "missed within noise",
    missed: "MISSED",
    none: "",
  };
  return `${text} ${words[verdict]}`.trim();
}
