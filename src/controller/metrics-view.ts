/** Samples as the series of the charts. Pure. */
import { z } from "zod";
import type { MetricsView, NodeMetricsView } from "../protocol/activity-api.ts";
import type { Sample, SampleSubjects } from "../store/activity.ts";
import { controllerSubject, nodeSubject, numbersSchema, quantile, sampleMs } from "./metrics.ts";

/** Between two points. */
const stepMs = 30_000;
/** Each point is about the time of this length before it, so that its numbers are "per minute". */
const windowMs = 60_000;

export const nodeSampleSchema = z.object({ diskUsage: z.number(), loadAverage: z.number() });

/** Whose samples the charts of the cluster are made of. */
export const clusterSubjects: SampleSubjects = { prefix: controllerSubject };

/** And those of a node: its own, and what the controllers sent it. */
export function subjectsOf(nodeId: string): SampleSubjects {
  return { ...clusterSubjects, subject: nodeSubject(nodeId) };
}

/** From when on samples are needed. */
export function samplesFromMs(nowMs: number, minutes: number): number {
  return Math.floor(nowMs / sampleMs) * sampleMs - minutes * 60_000 - windowMs;
}

/** The last point is the latest time that is over. */
function pointsOf(nowMs: number, minutes: number): number[] {
  const end = Math.floor(nowMs / sampleMs) * sampleMs;
  const count = (minutes * 60_000) / stepMs;
  return Array.from({ length: count }, (_, index) => end - (count - 1 - index) * stepMs);
}

export function metricsView(samples: readonly Sample[], nowMs: number, minutes: number): MetricsView {
  const numbers = controllerNumbers(samples);
  const view: MetricsView = {
    at: pointsOf(nowMs, minutes),
    pushes: [],
    clones: [],
    fetches: [],
    bytesIn: [],
    bytesOut: [],
    pushMedianMs: [],
    push95Ms: [],
  };
  const before = windowOver(numbers);
  for (const end of view.at) {
    const found = before(end);
    const sum = (key: "pushes" | "clones" | "fetches" | "bytesIn" | "bytesOut"): number =>
      found.reduce((total, { values }) => total + values[key], 0);
    for (const key of ["pushes", "clones", "fetches", "bytesIn", "bytesOut"] as const) view[key].push(sum(key));
    const times = addAll(found.map(({ values }) => values.pushTimes));
    view.pushMedianMs.push(quantile(times, 0.5));
    view.push95Ms.push(quantile(times, 0.95));
  }
  return view;
}

export function nodeMetricsView(
  samples: readonly Sample[],
  nodeId: string,
  nowMs: number,
  minutes: number,
): NodeMetricsView {
  const numbers = controllerNumbers(samples);
  const own = samples
    .filter(({ subject }) => subject === nodeSubject(nodeId))
    .flatMap(({ startMs, numbers }) => {
      const parsed = nodeSampleSchema.safeParse(JSON.parse(numbers));
      return parsed.success ? [{ startMs, values: parsed.data }] : [];
    });
  const view: NodeMetricsView = {
    at: pointsOf(nowMs, minutes),
    diskUsage: [],
    loadAverage: [],
    pushes: [],
    fetches: [],
    stageMs: [],
  };
  const [ownBefore, numbersBefore] = [windowOver(own), windowOver(numbers)];
  for (const end of view.at) {
    const last = ownBefore(end).at(-1)?.values;
    view.diskUsage.push(last?.diskUsage ?? null);
    view.loadAverage.push(last === undefined || last.loadAverage < 0 ? null : last.loadAverage);
    const traffic = numbersBefore(end).flatMap(({ values }) => values.nodes[nodeId] ?? []);
    const stages = traffic.reduce((sum, node) => sum + node.stages, 0);
    view.pushes.push(stages);
    view.fetches.push(traffic.reduce((sum, node) => sum + node.fetches, 0));
    const stageMs = traffic.reduce((sum, node) => sum + node.stageMs, 0);
    view.stageMs.push(stages === 0 ? null : Math.round(stageMs / stages));
  }
  return view;
}

/**
 * Those of the time before an end, for ends that only grow: each sample is passed once, however many points there are.
 * `samples` are in order of time, as the store gives them.
 */
function windowOver<S extends { readonly startMs: number }>(samples: readonly S[]): (end: number) => readonly S[] {
  let from = 0;
  let to = 0;
  return (end) => {
    while ((samples[to]?.startMs ?? Infinity) < end) to += 1;
    while (from < to && (samples[from]?.startMs ?? Infinity) < end - windowMs) from += 1;
    return samples.slice(from, to);
  };
}

function controllerNumbers(samples: readonly Sample[]) {
  return samples.flatMap(({ startMs, subject, numbers }) => {
    if (!subject.startsWith(controllerSubject)) return [];
    const parsed = numbersSchema.safeParse(JSON.parse(numbers));
    return parsed.success ? [{ startMs, values: parsed.data }] : [];
  });
}

function addAll(lists: readonly (readonly number[])[]): number[] {
  const sum: number[] = [];
  for (const list of lists) for (const [index, count] of list.entries()) sum[index] = (sum[index] ?? 0) + count;
  return Array.from(sum, (count) => count ?? 0);
}
