/** The event stream over a store that is made up here: cursors, who comes when, a store that goes away and comes back. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { createLogger } from "../base/log.ts";
import type { ClusterEvent, PushedRepository, WorkRecord } from "../store/activity.ts";
import { EventStream, type Watch, type Watcher } from "./event-stream.ts";
import { clusterNode } from "./testing/cluster-states.ts";
import { ManualClock } from "./testing/manual-clock.ts";
import { until } from "./testing/test-cluster.ts";

/** Events, pushes and work as a test puts them; reads wait while they are held. */
class MadeUpStore {
  events: ClusterEvent[] = [];
  pushed: PushedRepository[] = [];
  work: WorkRecord[] = [];
  down = false;
  reads = 0;
  #held = Promise.withResolvers<void>();

  constructor() {
    this.#held.resolve();
  }

  add(...ids: readonly number[]): void {
    for (const id of ids) {
      const about = { repositoryId: "", repositoryName: "", nodeId: "", detail: "" };
      this.events.push({ id, atMs: 0, kind: "repair-stuck", ...about });
    }
  }

  hold(): () => void {
    this.#held = Promise.withResolvers();
    return () => this.#held.resolve();
  }

  async newestEventId(): Promise<number> {
    await this.#read();
    return Math.max(0, ...this.events.map(({ id }) => id));
  }

  async readEventsAfter(after: number, limit: number): Promise<readonly ClusterEvent[]> {
    await this.#read();
    return this.events.filter(({ id }) => id > after).slice(0, limit);
  }

  async listPushedSince(sinceMs: number): Promise<readonly PushedRepository[]> {
    await this.#read();
    return this.pushed.filter(({ pushedMs }) => pushedMs >= sinceMs);
  }

  async listWork(): Promise<readonly WorkRecord[]> {
    await this.#read();
    return this.work;
  }

  async #read(): Promise<void> {
    this.reads += 1;
    await this.#held.promise;
    if (this.down) throw new Error("the store is down");
  }
}

class Client implements Watcher {
  readonly messages: { readonly event: string; readonly id: number | undefined; readonly data: unknown }[] = [];
  /** Takes no more from then on, as a client whose connection broke. */
  takesMax = Infinity;

  write(message: string): void {
    if (this.messages.length >= this.takesMax) return;
    const [, id, event = "", data = ""] = /^(?:id: (\d+)\n)?event: (\w+)\ndata: (.*)\n\n$/.exec(message) ?? [];
    this.messages.push({ event, id: id === undefined ? undefined : Number(id), data: JSON.parse(data) as unknown });
  }

  /** As in "cursor:4 change:5", without what has no id. */
  get cursors(): string {
    return this.messages.flatMap(({ event, id }) => (id === undefined ? [] : [`${event}:${id}`])).join(" ");
  }

  get lastId(): number | undefined {
    return this.messages.findLast(({ id }) => id !== undefined)?.id;
  }

  /** Ids of the events themselves. */
  get changes(): readonly number[] {
    return this.messages.filter(({ event }) => event === "change").map(({ data }) => (data as { id: number }).id);
  }

  has(event: string): boolean {
    return this.messages.some((message) => message.event === event);
  }
}

function begin(t: TestContext) {
  const store = new MadeUpStore();
  const clock = new ManualClock();
  const membership = { get: () => undefined, nodes: () => [clusterNode("a")] };
  const stream = new EventStream({ store, membership, clock, log: createLogger("controller", "silent") });
  const stop = new AbortController();
  const ended = stream.run(stop.signal);
  t.after(async () => {
    stop.abort();
    await ended;
  });
  const watch = async (client: Client, lastId?: number): Promise<Watch> => stream.watch(client, lastId);
  /** One look, to its end. */
  const look = async (): Promise<void> => {
    const before = store.reads;
    await until("it looks", () => {
      clock.advance(500);
      return store.reads > before;
    });
    await until("the look to end", async () => {
      const { reads } = store;
      await new Promise(setImmediate);
      return reads === store.reads;
    });
  };
  return { store, clock, stream, watch, look };
}

test("each change of a batch has a cursor that leaves out none of those after it", async (t) => {
  const { store, watch, look } = begin(t);
  const client = new Client();
  await watch(client);
  client.takesMax = client.messages.length + 1;
  store.add(1, 2, 3);
  await look();
  assert.deepEqual(client.changes, [1]);
  const again = new Client();
  await watch(again, client.lastId);
  assert.deepEqual(again.changes, [2, 3], "the connection broke within the batch");
  assert.equal(again.cursors, "change:2 change:3 resumed:3");
});

test("the cursor stays below an id that is missing, and moves on when it comes", async (t) => {
  const { store, watch, look } = begin(t);
  store.add(1);
  const client = new Client();
  await watch(client);
  store.add(3);
  await look();
  store.add(2);
  store.events.sort((one, other) => one.id - other.id);
  await look();
  assert.equal(client.cursors, "cursor:1 change:1 change:3");
  assert.deepEqual(client.changes, [3, 2]);
});

test("of two who come at once to nobody both get what happens from then on", async (t) => {
  const { store, watch, look } = begin(t);
  store.add(1);
  const letGo = store.hold();
  const [one, other] = [new Client(), new Client()];
  const watches = [watch(one), watch(other)];
  await until("the first read", () => store.reads > 0);
  letGo();
  await Promise.all(watches);
  store.add(2);
  await look();
  for (const client of [one, other]) assert.equal(client.cursors, "cursor:1 change:2");
});

test("who goes on from before gets what was missed before anything newer", async (t) => {
  const { store, clock, watch, look } = begin(t);
  store.add(1, 2, 3);
  const first = new Client();
  await watch(first);
  const letGo = store.hold();
  const late = new Client();
  const watching = watch(late, 1);
  clock.advance(500);
  await until("a read", () => store.reads > 0);
  store.add(4);
  letGo();
  await watching;
  await look();
  store.add(5);
  await look();
  const ids = late.messages.flatMap(({ id }) => (id === undefined ? [] : [id]));
  assert.deepEqual(
    ids,
    ids.toSorted((one, next) => one - next),
  );
  assert.deepEqual([...new Set(late.changes)], [2, 3, 4, 5]);
  assert.deepEqual(first.changes, [4, 5]);
});

test("while the store does not answer there are the nodes, and that it does not", async (t) => {
  const { store, clock, watch, look } = begin(t);
  store.add(1);
  const client = new Client();
  const { begun } = await watch(client);
  assert.equal(begun, true);
  store.down = true;
  await look();
  assert.deepEqual(client.messages.at(-1)?.data, { ok: false });
  const late = new Client();
  const watching = await watch(late, 0);
  assert.equal(watching.begun, false);
  assert.deepEqual(
    late.messages.map(({ event }) => event),
    ["store", "nodes"],
  );
  const before = client.messages.filter(({ event }) => event === "nodes").length;
  await until("the nodes again", () => {
    clock.advance(500);
    return client.messages.filter(({ event }) => event === "nodes").length > before;
  });
  store.down = false;
  await until("it begins", () => {
    clock.advance(500);
    return late.has("resumed");
  });
  assert.deepEqual(late.changes, [1]);
  assert.deepEqual(client.messages.filter(({ event }) => event === "store").at(-1)?.data, { ok: true });
});

test("pushes from while no look succeeded are told when one does", async (t) => {
  const { store, clock, watch, look } = begin(t);
  const client = new Client();
  await watch(client);
  await look();
  store.down = true;
  await look();
  store.pushed.push({ id: "r", name: "a", generation: 1, pushedMs: clock.nowMs() });
  for (let passed = 0; passed < 60_000; passed += 500) clock.advance(500);
  await look();
  store.down = false;
  await look();
  assert.deepEqual(client.messages.find(({ event }) => event === "push")?.data, {
    repository: "a",
    generation: 1,
    at: store.pushed[0]?.pushedMs,
  });
  await look();
  assert.equal(client.messages.filter(({ event }) => event === "push").length, 1);
});

test("a store that was restored from a backup: everything is to be read again, and then goes on", async (t) => {
  const { store, watch, look } = begin(t);
  store.add(1, 2, 3, 4, 5);
  const client = new Client();
  await watch(client);
  store.events = store.events.slice(0, 2);
  await look();
  assert.equal(client.cursors, "cursor:5 reset:2");
  store.add(3);
  await look();
  assert.equal(client.cursors, "cursor:5 reset:2 change:3");
});

test("work is told when it changes, and to who comes", async (t) => {
  const { store, watch, look } = begin(t);
  const client = new Client();
  await watch(client);
  const count = (): number => client.messages.filter(({ event }) => event === "work").length;
  await look();
  assert.equal(count(), 1);
  const place = { repositoryId: "r", nodeId: "a", repositoryName: "x" };
  const numbers = { startedMs: 1, updatedMs: 1, progress: 0.5, failures: 0 };
  store.work.push({ ...place, ...numbers, kind: "verify", state: "running", detail: "" });
  await look();
  assert.equal(count(), 2);
  const late = new Client();
  await watch(late);
  const told = late.messages.find(({ event }) => event === "work")?.data as readonly unknown[] | undefined;
  assert.equal(told?.length, 1);
});
