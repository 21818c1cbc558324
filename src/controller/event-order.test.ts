import assert from "node:assert/strict";
import { test } from "node:test";
import { EventOrder } from "./event-order.ts";

const events = (...ids: number[]): { id: number }[] => ids.map((id) => ({ id }));
const idsOf = (found: readonly { id: number }[]): number[] => found.map(({ id }) => id);

test("events in order are sent once, and are safe at once", () => {
  const order = new EventOrder(10, 1000);
  assert.deepEqual(idsOf(order.take(events(11, 12), 0)), [11, 12]);
  assert.equal(order.safe, 12);
  assert.deepEqual(idsOf(order.take(events(13), 5)), [13]);
  assert.deepEqual(idsOf(order.take([], 5)), []);
  assert.equal(order.safe, 13);
});

test("one that appears late is sent, and until then a client goes on from before it", () => {
  const order = new EventOrder(10, 1000);
  assert.deepEqual(idsOf(order.take(events(12, 13), 0)), [12, 13]);
  assert.equal(order.safe, 10);
  assert.deepEqual(idsOf(order.take(events(12, 13), 900)), []);
  assert.deepEqual(idsOf(order.take(events(11, 12, 13), 990)), [11]);
  assert.equal(order.safe, 13);
});

test("one that never appears is given up after the gap's time, each gap by itself", () => {
  const order = new EventOrder(10, 1000);
  order.take(events(12), 0);
  order.take(events(12, 14), 1001);
  assert.equal(order.safe, 12);
  order.take(events(14), 1002);
  order.take(events(14), 2002);
  assert.equal(order.safe, 12);
  assert.deepEqual(idsOf(order.take(events(14, 15), 2003)), [15]);
  assert.equal(order.safe, 15);
});
