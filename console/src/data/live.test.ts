/** What the event stream has fetched again, and when the connection counts as lost; timers and the stream are made up. */
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { QueryClient, QueryObserver } from "@tanstack/vue-query";
import { connection, heals } from "./connection.ts";
import type { Browser } from "./event-connection.ts";
import { startLive } from "./live.ts";

type Listener = (event: { data: string; lastEventId: string }) => void;

class FakeStream {
  readyState = 1;
  readonly url: string;
  readonly #listeners = new Map<string, Listener>();

  constructor(url: string) {
    this.url = url;
  }

  addEventListener(name: string, listener: unknown): void {
    this.#listeners.set(name, listener as Listener);
  }

  close(): void {
    this.readyState = 2;
  }

  tell(name: string, data: unknown = {}, lastEventId = ""): void {
    this.#listeners.get(name)?.({ data: JSON.stringify(data), lastEventId });
  }
}

class FakeBrowser implements Browser {
  readonly streams: FakeStream[] = [];
  hidden = false;
  #nowMs = 0;
  #timers: { atMs: number; act: () => void }[] = [];
  readonly #acts = new Map<string, () => void>();

  get stream(): FakeStream {
    return this.streams.at(-1) ?? assert.fail("no stream was opened");
  }

  nowMs(): number {
    return this.#nowMs;
  }

  timer(ms: number, act: () => void): () => void {
    const timer = { atMs: this.#nowMs + ms, act };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((each) => each !== timer);
    };
  }

  openStream(url: string): EventSource {
    this.streams.push(new FakeStream(url));
    return this.stream as unknown as EventSource;
  }

  isHidden(): boolean {
    return this.hidden;
  }

  on(what: string, act: () => void): () => void {
    this.#acts.set(what, act);
    return () => this.#acts.delete(what);
  }

  show(shown: boolean): void {
    this.hidden = !shown;
    this.#acts.get("visibility")?.();
  }

  /** Lets time pass, and what waits for promises run after each timer. */
  async pass(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    for (;;) {
      await settle();
      const [next] = this.#timers.toSorted((one, other) => one.atMs - other.atMs);
      if (next === undefined || next.atMs > endMs) break;
      this.#nowMs = next.atMs;
      this.#timers = this.#timers.filter((each) => each !== next);
      next.act();
    }
    this.#nowMs = endMs;
  }
}

/** vue-query tells its observers in a turn of the event loop of its own. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** A query on a page that is shown, whose answers come when the test gives them. */
class Shown {
  asked = 0;
  readonly #answers: ((value: unknown) => void)[] = [];

  constructor(queries: QueryClient, queryKey: readonly unknown[], value?: unknown) {
    const queryFn = (): Promise<unknown> => {
      this.asked += 1;
      return new Promise((resolve) => this.#answers.push(resolve));
    };
    const observer = new QueryObserver(queries, { queryKey, queryFn, initialData: value, staleTime: Infinity });
    observer.subscribe(() => {});
  }

  async answer(value: unknown): Promise<void> {
    const give = this.#answers.shift() ?? assert.fail("nothing was asked");
    give(value);
    await settle();
  }
}

const change = { id: 1, at: 0, kind: "replica-ready", repository: "a", repositoryId: "1", nodeId: "", node: "" };

beforeEach(() => {
  connection.value = "connecting";
  heals.value = 0;
});

function started(): { readonly browser: FakeBrowser; readonly queries: QueryClient } {
  const browser = new FakeBrowser();
  const queries = new QueryClient({ defaultOptions: { queries: { retry: false } } });
  startLive(queries, browser);
  browser.stream.tell("hello", { controller: "c", version: "1" });
  return { browser, queries };
}

test("events that come faster than answers do not keep a list from being answered", async () => {
  const { browser, queries } = started();
  const cluster = new Shown(queries, ["cluster"], "old");
  for (let event = 0; event < 10; event += 1) {
    browser.stream.tell("change", change);
    await browser.pass(400);
  }
  assert.equal(cluster.asked, 1, "the one under way is neither broken off nor asked again beside itself");
  await cluster.answer("new");
  assert.equal(queries.getQueryData(["cluster"]), "new");
  await browser.pass(5000);
  assert.equal(cluster.asked, 2, "once more for what happened meanwhile");
  await cluster.answer("newest");
  await browser.pass(60_000);
  assert.equal(cluster.asked, 2);
});

test("what was being read when a change came is read again", async () => {
  const { browser, queries } = started();
  const cluster = new Shown(queries, ["cluster"]);
  await settle();
  assert.equal(cluster.asked, 1);
  browser.stream.tell("change", change);
  await browser.pass(1000);
  await cluster.answer("before the change");
  assert.equal(cluster.asked, 2);
});

test("messages about work ask for nothing; the repair is asked for every five seconds at most", async () => {
  const { browser, queries } = started();
  const repair = new Shown(queries, ["repair"], "old");
  for (let second = 0; second < 30; second += 1) {
    browser.stream.tell("work", [{ repository: "a" }]);
    await browser.pass(1000);
  }
  assert.equal(repair.asked, 0);
  assert.deepEqual(queries.getQueryData(["work"]), [{ repository: "a" }]);
  for (let second = 0; second < 31; second += 1) {
    browser.stream.tell("change", change);
    await browser.pass(1000);
    if (repair.asked > 0) await repair.answer("new").catch(() => {});
  }
  assert.ok(repair.asked >= 5 && repair.asked <= 7, `${repair.asked} times in 31 s`);
});

test("a push has only those lists fetched again that show its repository", async () => {
  const { browser, queries } = started();
  const page = { pages: [{ items: [{ name: "a" }] }], pageParams: [undefined] };
  const byName = new Shown(queries, ["repositories", { contains: "", state: "", sort: "name" }], page);
  const refs = new Shown(queries, ["refs", "a"], "old");
  browser.stream.tell("push", { repository: "b", generation: 1, at: 0 });
  await browser.pass(5000);
  assert.deepEqual([byName.asked, refs.asked], [0, 0]);
  browser.stream.tell("push", { repository: "a", generation: 1, at: 0 });
  await browser.pass(5000);
  assert.deepEqual([byName.asked, refs.asked], [1, 1]);
  await byName.answer(page);
  const byPush = new Shown(queries, ["repositories", { contains: "", state: "", sort: "-pushed" }], page);
  browser.stream.tell("push", { repository: "b", generation: 2, at: 0 });
  await browser.pass(5000);
  assert.equal(byPush.asked, 1, "it may be the first one now");
});

test("a hidden page holds no connection after a while, and goes on where it was", async () => {
  const { browser, queries } = started();
  const cluster = new Shown(queries, ["cluster"], "old");
  browser.stream.tell("change", change, "17");
  browser.show(false);
  await browser.pass(5000);
  browser.show(true);
  browser.stream.tell("nodes", []);
  await browser.pass(11_000);
  assert.deepEqual([browser.streams.length, browser.stream.readyState], [1, 1], "a short look elsewhere is nothing");
  browser.stream.tell("nodes", []);
  browser.show(false);
  await browser.pass(11_000);
  assert.equal(browser.stream.readyState, 2);
  await browser.pass(3_600_000);
  assert.equal(browser.streams.length, 1, "nobody looks: it stays closed");
  const before = cluster.asked;
  browser.show(true);
  assert.deepEqual([browser.streams.length, browser.stream.url], [2, "/api/events/stream?lastEventId=17"]);
  browser.stream.tell("hello");
  browser.stream.tell("resumed", {}, "20");
  assert.deepEqual([connection.value, heals.value], ["live", 0], "it was not lost");
  await cluster.answer("new");
  await browser.pass(5000);
  assert.equal(cluster.asked, before + 1);
});

test("a connection is lost after a while without messages, and heals", async () => {
  const { browser } = started();
  assert.equal(connection.value, "live");
  await browser.pass(14_000);
  assert.equal(connection.value, "live");
  await browser.pass(1500);
  assert.equal(connection.value, "connecting");
  await browser.pass(2000);
  assert.equal(connection.value, "lost");
  browser.stream.readyState = 2;
  browser.stream.tell("error");
  const opened = browser.streams.length;
  await browser.pass(1000);
  assert.equal(browser.streams.length, opened + 1, "an answer that is an error is tried again");
  browser.stream.tell("hello");
  assert.deepEqual([connection.value, heals.value], ["live", 1]);
  browser.stream.tell("error");
  await browser.pass(1000);
  browser.stream.tell("hello");
  assert.deepEqual([connection.value, heals.value], ["live", 1], "a short break is nobody's business");
});
