/** A controller that hangs under the console, as in a partition: what looks on goes on by itself, and nothing waits for long. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { callApi } from "../support/api.ts";
import { startServers, type Cluster } from "../support/cluster.ts";
import { availableEngines, startDatabase, type TestDatabase } from "../support/databases.ts";
import { needs } from "../support/requirement.ts";
import type { Separate } from "../support/servers.ts";
import { waitFor } from "../support/wait.ts";

describe("a hung controller", needs("PostgreSQL", availableEngines().includes("postgres")), () => {
  let database: TestDatabase;
  let cluster: Cluster<Separate>;
  before(async () => {
    database = await startDatabase("postgres");
    const env = { GITMESH_NODE_TIMEOUT_MS: "60000" };
    cluster = await startServers({ controllers: 2, database: database.url, env });
    cluster.servers.start("console");
    await waitFor(async () => (await fetch(`${cluster.consoleUrl}/readyz`)).ok, {
      what: "the console",
      limitMs: 90_000,
    });
  });
  after(async () => {
    try {
      await cluster?.stop();
    } finally {
      await database?.stop();
    }
  });

  test("one event stream through the console tells what happens, whichever controller hangs", async () => {
    const abort = new AbortController();
    const answer = await fetch(`${cluster.consoleUrl}/api/events/stream`, { signal: abort.signal });
    assert.equal(answer.status, 200);
    let told = "";
    let ended = false;
    const reading = (async () => {
      for await (const text of answer.body?.pipeThrough(new TextDecoderStream()) ?? []) told += text;
    })()
      .catch(() => {})
      .finally(() => {
        ended = true;
      });
    await waitFor(() => told.includes("event: cursor"), { what: "the stream to begin" });
    for (const number of [1, 2]) {
      const name = `while/controller-${number}-hangs`;
      cluster.pause(`controller-${number}`);
      // The one that stands still may have the store held up for a moment.
      await waitFor(
        async () => {
          const { status } = await callApi(`${cluster.controllerUrl(3 - number)}/api/repos/${name}`, "POST");
          return status === 201 || status === 409;
        },
        { what: `${name} to be made`, limitMs: 120_000 },
      );
      await waitFor(() => told.includes(`"repository":"${name}"`), { what: `${name} on the stream`, limitMs: 60_000 });
      // By now it is known which one hangs: nobody waits for it any more than to be sure.
      const asked = await fetch(`${cluster.consoleUrl}/api/repos/${name}`, { signal: AbortSignal.timeout(60_000) });
      assert.equal(asked.status, 200);
      cluster.resume(`controller-${number}`);
      await cluster.waitServing();
    }
    assert.equal(ended, false);
    abort.abort();
    await reading;
  });
});
