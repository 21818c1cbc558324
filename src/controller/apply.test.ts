import assert from "node:assert/strict";
import { test } from "node:test";
import { createLogger } from "../base/log.ts";
import type { Store } from "../store/store.ts";
import { ReplicaApplier } from "./apply.ts";
import type { Membership } from "./membership.ts";
import { NodeCallError } from "./node-call-error.ts";
import type { NodeClient } from "./node-client.ts";
import { ManualClock } from "./testing/manual-clock.ts";

const applyMs = 1000;
const changes = [{ name: "refs/heads/x", oldOid: undefined, newOid: "a".repeat(40), peeled: undefined }];

/** With two pushes, of which the replica missed one, or none (-1). */
function storeWith(replica: { readonly missedGeneration: number }): Store {
  return {
    readRefLog: async () => [1, 2].map((generation) => ({ generation, changes })),
    getRepository: async () => ({ replicas: [{ nodeId: "node", ...replica }] }),
    recordApplied: async () => {},
  } as unknown as Store;
}

/** What the node answers to one question after the other; the failures that are held against it. */
async function failuresAfter(answers: readonly ((clock: ManualClock) => number)[]): Promise<number> {
  const clock = new ManualClock();
  const left = [...answers];
  let failures = 0;
  const apply: NodeClient["apply"] = async () => {
    const generation = (left.shift() ?? assert.fail())(clock);
    return { kind: "behind", generation };
  };
  const applier = new ReplicaApplier({
    store: storeWith({ missedGeneration: -1 }),
    nodeClient: { apply } as unknown as NodeClient,
    membership: {
      get: () => ({ url: "http://node" }),
      reportFailure: () => (failures += 1),
    } as unknown as Membership,
    clock,
    log: createLogger("test", "silent"),
    applyMs,
  });
  const commit = { generation: 2, changes, applyNodeIds: ["node"] };
  assert.deepEqual(await applier.applyCommit("repository", commit), ["node"]);
  assert.equal(left.length, 0, "it was not asked so often");
  return failures;
}

const silence = (): never => {
  throw new NodeCallError("no answer", { unreachable: true });
};

test("a node that does not answer in the time of an apply is reported", async () => {
  assert.equal(await failuresAfter([silence]), 1);
});

test("one that only had the rest of that time for a second question is not", async () => {
  const behind = (clock: ManualClock): number => {
    clock.advance(950);
    return 0;
  };
  assert.equal(await failuresAfter([behind, silence]), 0);
});

for (const [what, missedGeneration, sent] of [
  ["a replica that was away gets from the log what it staged", 0, true],
  ["one that missed something of it is to fetch it first", 1, false],
] as const) {
  test(what, async () => {
    const bases: number[] = [];
    const apply: NodeClient["apply"] = async (_url, _id, { base, generation }) => {
      bases.push(base);
      return base > 0 ? { kind: "behind", generation: 0 } : { kind: "applied", generation };
    };
    const applier = new ReplicaApplier({
      store: storeWith({ missedGeneration }),
      nodeClient: { apply } as unknown as NodeClient,
      membership: { get: () => ({ url: "http://node" }) } as unknown as Membership,
      clock: new ManualClock(),
      log: createLogger("test", "silent"),
      applyMs,
    });
    const unconfirmed = await applier.applyCommit("repository", { generation: 2, changes, applyNodeIds: ["node"] });
    assert.deepEqual(unconfirmed, sent ? [] : ["node"]);
    assert.deepEqual(bases, sent ? [1, 0] : [1]);
    bases.length = 0;
    if (!sent) assert.equal(await applier.applyFromLog("repository", "node", 0), undefined);
    assert.deepEqual(bases, []);
  });
}
