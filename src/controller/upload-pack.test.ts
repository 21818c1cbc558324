import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { test, type TestContext } from "node:test";
import { createLogger } from "../base/log.ts";
import { controllerSettingsSchema } from "../base/settings.ts";
import { delimPkt, flushPkt, pktLine, sideBand } from "../protocol/pkt-line.ts";
import type { Repository, Store } from "../store/store.ts";
import { FetchCache } from "./fetch-cache.ts";
import type { Membership } from "./membership.ts";
import { Metrics } from "./metrics.ts";
import type { NodeClient } from "./node-client.ts";
import type { RefSnapshots } from "./ref-snapshot.ts";
import { clusterNode, replica, repository } from "./testing/cluster-states.ts";
import { ManualClock } from "./testing/manual-clock.ts";
import { UploadPack, type UploadPackRequest } from "./upload-pack.ts";

const log = createLogger("test", "silent");
const other = { id: "01900000-0000-7000-8000-000000000002" };
const first = replica("a", "READY");
const replicas = [first];
const nodes = ["a", "b", "c"].map((id) => clusterNode(id));
const want = (letter: string): Buffer => pktLine(`want ${letter.repeat(40)}\n`);

function body(...args: readonly Buffer[]): Buffer {
  return Buffer.concat([pktLine("command=fetch"), delimPkt, ...args, pktLine("done\n"), flushPkt]);
}

/** A controller's reads, of nodes that number their answers. */
function reads(t: TestContext, cached = true) {
  const directory = mkdtempSync(join(tmpdir(), "gitmesh-fetch-cache-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const clock = new ManualClock();
  const cache = cached ? new FetchCache({ directory, bytesMax: 1_000_000, stepMs: 1000, clock, log }) : undefined;
  t.after(() => cache?.clear());
  /** Of the nodes' refs. */
  const node = { generation: 0, answers: 0, asked: [] as string[], answer: (): Buffer => packOf(`${node.answers}`) };
  const uploadPack: NodeClient["uploadPack"] = async (url) => {
    node.answers += 1;
    node.asked.push(url);
    return { body: Readable.from([node.answer()]), generation: node.generation };
  };
  const store = { requestVerification: async () => {} } as unknown as Store;
  const reader = new UploadPack({
    store,
    metrics: new Metrics({ store, clock, log, id: "test" }),
    nodeClient: { uploadPack } as unknown as NodeClient,
    membership: {
      nodes: () => nodes,
      track: () => () => {},
      reportSuccess: () => {},
      reportFailure: () => {},
    } as unknown as Membership,
    snapshots: {} as RefSnapshots,
    settings: controllerSettingsSchema.parse({ secret: "the secret of the tests" }),
    clock,
    log,
    agent: "gitmesh/test",
    cache,
  });
  const ask = async (
    changes: Partial<Repository> = {},
    request: Partial<Omit<UploadPackRequest, "repository">> & { readonly replicas?: typeof replicas } = {},
  ): Promise<string> => {
    const answer = await reader.handle({
      gitProtocol: "version=2",
      body: body(want("1")),
      signal: new AbortController().signal,
      ...request,
      repository: { repository: repository(changes), replicas: request.replicas ?? replicas },
    });
    const bytes = Buffer.isBuffer(answer) ? answer : await buffer(answer);
    const text = bytes.toString("latin1");
    return text.endsWith("0000") ? text.slice(text.indexOf("\u0001") + 1, -4) : text;
  };
  return { ask, node, clock };
}

function packOf(text: string): Buffer {
  return Buffer.concat([pktLine("packfile\n"), sideBand(1, text), flushPkt]);
}

test("the same question about the same refs is answered once, whatever the repository is called meanwhile", async (t) => {
  const { ask } = reads(t);
  assert.equal(await ask(), "1");
  assert.equal(await ask({ name: "renamed", description: "new" }), "1");
});

test("without a cache each is answered anew", async (t) => {
  const { ask } = reads(t, false);
  assert.deepEqual([await ask(), await ask()], ["1", "2"]);
});

type Ask = Parameters<ReturnType<typeof reads>["ask"]>;
const differences: readonly [what: string, ...ask: Ask][] = [
  ["another repository, perhaps of the same name", other],
  ["the repository after a push", { generation: 1 }],
  ["another protocol", {}, { gitProtocol: "version=1" }],
  ["another want", {}, { body: body(want("2")) }],
  ["a replica more", {}, { replicas: [first, replica("b", "READY")] }],
  ["a replica that is known to be damaged", {}, { replicas: [{ ...first, reason: "damaged: x" }] }],
  ["a replica that was filled anew", {}, { replicas: [{ ...first, copyNumber: 1 }] }],
];
for (const [what, changes, request] of differences) {
  test(`${what} gets an answer of its own`, async (t) => {
    const { ask, node } = reads(t);
    node.generation = 1;
    assert.deepEqual([await ask(), await ask(changes, request)], ["1", "2"]);
    assert.deepEqual([await ask(), await ask(changes, request)], ["1", "2"], "and each is kept");
  });
}

test("who asks again gets the answer of another replica, until each has given one", async (t) => {
  const { ask, node } = reads(t);
  const request = { replicas: nodes.map(({ id }) => replica(id, "READY")) };
  const answers = [];
  for (let time = 1; time <= 7; time += 1) answers.push(await ask({}, request));
  assert.deepEqual(answers, ["1", "2", "3", "1", "2", "3", "1"]);
  assert.deepEqual(
    node.asked,
    nodes.map(({ url }) => url),
  );
});

test("what a replica says whose refs lag is not kept", async (t) => {
  const { ask, node } = reads(t);
  assert.deepEqual([await ask({ generation: 1 }), await ask({ generation: 1 })], ["1", "2"]);
  node.generation = 1;
  assert.deepEqual([await ask({ generation: 1 }), await ask({ generation: 1 })], ["3", "3"]);
});

test("nor what it finds by the names of its own refs", async (t) => {
  const { ask } = reads(t);
  for (const [index, arg] of ["deepen-not HEAD\n", "filter sparse:oid=HEAD:x\n"].entries()) {
    const request = { body: body(want("1"), pktLine(arg)) };
    assert.deepEqual([await ask({}, request), await ask({}, request)], [`${2 * index + 1}`, `${2 * index + 2}`]);
  }
});

test("refusals and failures are not kept", async (t) => {
  const { ask, node } = reads(t);
  const refusal = pktLine(`ERR upload-pack: not our ref ${"1".repeat(40)}`);
  const gaveUp = Buffer.concat([packOf("begun").subarray(0, -4), sideBand(3, "no")]);
  for (const answer of [refusal, gaveUp]) {
    node.answer = () => answer;
    const before = node.answers;
    await ask();
    const made = node.answers - before;
    await ask();
    assert.equal(node.answers - before, 2 * made);
  }
  node.answer = () => packOf("whole");
  assert.equal(await ask(), "whole");
});

test("what is kept is made anew when it is old", async (t) => {
  const { ask, clock } = reads(t);
  assert.equal(await ask(), "1");
  clock.advance(10 * 60_000);
  assert.equal(await ask(), "1");
  clock.advance(1);
  assert.deepEqual([await ask(), await ask()], ["2", "2"]);
});
