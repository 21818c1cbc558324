import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "node:test";
import { systemClock } from "../base/clock.ts";
import { TestNodes } from "./testing/test-node.ts";

test("a connection on which nothing was ever said does not keep a server from stopping", async () => {
  const nodes = new TestNodes();
  const { client, stop } = await nodes.startStoppable("n", { requestIdleMs: 60_000 });
  const socket = connect(Number(new URL(client.url).port), "127.0.0.1");
  await once(socket, "connect");
  // Answered on another connection: by then the server has the silent one as well.
  assert.equal((await client.json("GET", "/healthz")).status, 200);
  const startMs = systemClock.monotonicMs();
  await stop();
  assert.ok(systemClock.monotonicMs() - startMs < 20_000);
  socket.destroy();
  await nodes.close();
});
