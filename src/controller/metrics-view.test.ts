/** From what is counted to the points of a chart. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Sample } from "../store/activity.ts";
import { classOf, quantile } from "./metrics.ts";
import { metricsView, nodeMetricsView, samplesFromMs } from "./metrics-view.ts";

const nowMs = 10_000_005_000;
const end = 10_000_000_000;

function counted(startMs: number, subject: string, more: object = {}): Sample {
  const numbers = { pushes: 1, clones: 2, fetches: 0, bytesIn: 10, bytesOut: 20, pushTimes: [], nodes: {}, ...more };
  return { startMs, subject: `controller/${subject}`, numbers: JSON.stringify(numbers) };
}

test("a point is about the minute before it, over all controllers", () => {
  const samples = [
    counted(end - 70_000, "a"),
    counted(end - 60_000, "a"),
    counted(end - 10_000, "a"),
    counted(end - 10_000, "b"),
    // Not over yet.
    counted(end, "a"),
  ];
  const view = metricsView(samples, nowMs, 5);
  assert.equal(view.at.length, 10);
  assert.equal(view.at.at(-1), end);
  assert.deepEqual(view.pushes.slice(-3), [1, 2, 3]);
  assert.deepEqual([view.clones.at(-1), view.bytesIn.at(-1), view.bytesOut.at(-1)], [6, 30, 60]);
  assert.equal(view.pushMedianMs.at(-1), null);
  assert.ok(samplesFromMs(nowMs, 5) <= (view.at[0] ?? 0) - 60_000);
});

test("a day of several controllers: each sample is looked at once", () => {
  const controllers = ["a", "b"];
  const minutes = 1440;
  const samples: Sample[] = [];
  let looks = 0;
  for (let startMs = end - minutes * 60_000; startMs < end; startMs += 10_000) {
    for (const name of controllers) {
      const { subject, numbers } = counted(startMs, name);
      samples.push({
        get startMs() {
          looks += 1;
          return startMs;
        },
        subject,
        numbers,
      });
    }
  }
  const view = metricsView(samples, nowMs, minutes);
  assert.deepEqual([view.at.length, view.pushes[5], view.pushes.at(-1)], [2880, 12, 12]);
  assert.equal(looks, samples.length);
});

test("what is in the store of another program is passed over", () => {
  const samples = [
    { startMs: end - 10_000, subject: "controller/x", numbers: '{"pushes":"many"}' },
    { startMs: end - 10_000, subject: "else", numbers: "{}" },
  ];
  assert.equal(metricsView(samples, nowMs, 5).pushes.at(-1), 0);
});

test("a node's points: its last sample, and what the controllers sent it", () => {
  const nodes = { n1: { stages: 2, stageMs: 30, fetches: 1 } };
  const samples = [
    counted(end - 20_000, "a", { nodes }),
    counted(end - 10_000, "b", { nodes }),
    { startMs: end - 20_000, subject: "node/n1", numbers: '{"diskUsage":0.1,"loadAverage":1}' },
    { startMs: end - 10_000, subject: "node/n1", numbers: '{"diskUsage":0.2,"loadAverage":-1}' },
  ];
  const view = nodeMetricsView(samples, "n1", nowMs, 5);
  assert.deepEqual(
    [view.diskUsage.at(-1), view.loadAverage.at(-1), view.pushes.at(-1), view.fetches.at(-1), view.stageMs.at(-1)],
    [0.2, null, 4, 2, 15],
  );
  assert.deepEqual([view.diskUsage[0], view.pushes[0], view.stageMs[0]], [null, 0, null]);
});

test("push times by class: the median lies within its class", () => {
  assert.equal(classOf(0), 0);
  assert.equal(classOf(1e12), 31);
  const times = Array.from({ length: 32 }, () => 0);
  assert.equal(quantile(times, 0.5), null);
  for (const ms of [10, 20, 30, 40, 1000]) times[classOf(ms)] = (times[classOf(ms)] ?? 0) + 1;
  const median = quantile(times, 0.5) ?? 0;
  assert.ok(median >= 20 && median <= 40, String(median));
  const high = quantile(times, 0.95) ?? 0;
  assert.ok(high >= 660 && high <= 1478, String(high));
});
