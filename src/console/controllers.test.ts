/** Controllers that hang, as one that was stopped or cut off does: they take connections and say nothing. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { test, type TestContext } from "node:test";
import { createLogger } from "../base/log.ts";
import { Controllers, type Call } from "./controllers.ts";

/** What it does by path; it hangs at every other. */
class Controller {
  readonly asked: string[] = [];
  readonly answers = new Map<string, (response: ServerResponse) => void>();
  readonly #server: Server;

  constructor() {
    this.#server = createServer((request, response) => {
      this.asked.push(request.url ?? "");
      this.answers.get(request.url ?? "")?.(response);
    });
  }

  static async start(t: TestContext): Promise<Controller> {
    const controller = new Controller();
    controller.#server.listen(0, "127.0.0.1");
    await once(controller.#server, "listening");
    t.after(() => {
      controller.#server.closeAllConnections();
      controller.#server.close();
    });
    return controller;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }
}

const says =
  (words: string) =>
  (response: ServerResponse): void => {
    response.end(words);
  };

async function begin(t: TestContext, times: { readonly readMs: number; readonly streamIdleMs: number }) {
  const [one, two] = [await Controller.start(t), await Controller.start(t)];
  const log = createLogger("console", "silent");
  const controllers = new Controllers([one.url, two.url], log, { connectMs: 10_000, aloneMs: 60_000, ...times });
  t.after(() => controllers.close());
  const call = (path: string, method = "GET"): Call => {
    return { method, path, headers: {}, body: null, signal: new AbortController().signal };
  };
  return { one, two, controllers, call };
}

test("one that hangs is passed over once, and not asked again first", async (t) => {
  const { one, two, controllers, call } = await begin(t, { readMs: 200, streamIdleMs: 200 });
  two.answers.set("/api/a", says("two"));
  for (let time = 1; time <= 2; time += 1) {
    assert.equal(await text((await controllers.forward(call("/api/a"))).body), "two");
  }
  assert.deepEqual([one.asked.length, two.asked.length], [1, 2]);
});

test("the last one that can be asked has all the time that it needs", async (t) => {
  const { one, two, controllers, call } = await begin(t, { readMs: 100, streamIdleMs: 100 });
  const answer = controllers.forward(call("/api/a"));
  two.answers.set("/api/a", (response) => {
    // Longer than another one would be waited for.
    setTimeout(() => response.end("late"), 1500);
  });
  assert.equal(await text((await answer).body), "late");
  assert.equal(one.asked.length, 1);
});

test("a question that takes long is no reason to leave a controller that answers others", async (t) => {
  const { one, two, controllers, call } = await begin(t, { readMs: 1500, streamIdleMs: 1500 });
  one.answers.set("/api/quick", says("one"));
  for (const path of ["/api/quick", "/api/slow"]) two.answers.set(path, says("two"));
  const slow = controllers.forward(call("/api/slow"));
  while (one.asked.length === 0) await new Promise(setImmediate);
  assert.equal(await text((await controllers.forward(call("/api/quick"))).body), "one");
  assert.equal(await text((await slow).body), "two");
  assert.equal(await text((await controllers.forward(call("/api/quick"))).body), "one");
});

test("a stream that falls silent breaks off, and the next question goes to another", async (t) => {
  const { one, two, controllers, call } = await begin(t, { readMs: 5000, streamIdleMs: 200 });
  one.answers.set("/api/events/stream", (response) => void response.writeHead(200).write("hello"));
  two.answers.set("/api/a", says("two"));
  const stream = await controllers.stream(call("/api/events/stream"));
  await assert.rejects(text(stream.body), { code: "UND_ERR_BODY_TIMEOUT" });
  controllers.passOver(stream.from);
  assert.equal(await text((await controllers.forward(call("/api/a"))).body), "two");
  assert.deepEqual(one.asked, ["/api/events/stream"]);
});
