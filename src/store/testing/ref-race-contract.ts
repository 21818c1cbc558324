/** The contract of refs when commits and reads of two controllers race. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { RefChange, Store } from "../store.ts";
import { change, commitOf, committed, oid, repositoryIn, type StoreFactory } from "./fixtures.ts";

const topic = "refs/heads/topic";

export function refRaceContract(store: () => Store, factory: StoreFactory): void {
  // Two stores on one database: not to be had in memory.
  if (factory.openFresh === undefined) return;

  void test("one push sent by two controllers at once is committed once", async () => {
    await withSecond(factory, async (second) => {
      const { id } = await repositoryIn(store());
      const commit = commitOf(id, [change(topic, undefined, oid(1))]);
      const outcomes = await Promise.all([
        store().commitRefs(commit),
        second.commitRefs(commit),
        store().commitRefs(commit),
      ]);
      for (const outcome of outcomes) assert.deepEqual(outcome, outcomes[0]);
      assert.equal((await store().readRefs(id)).generation, 1);
    });
  });

  void test("of concurrent pushes to one ref exactly one wins, to others all do", async () => {
    await withSecond(factory, async (second) => {
      const { id } = await repositoryIn(store());
      const rounds = 8;
      for (let round = 0; round < rounds; round++) {
        const old = round === 0 ? undefined : (await store().readRefs(id)).refs.find(({ name }) => name === topic)?.oid;
        const outcomes = await Promise.all(
          [0, 1, 2, 3].map((rival) =>
            (rival % 2 === 0 ? store() : second).commitRefs(
              commitOf(id, [
                change(topic, old, oid(100 + round * 10 + rival)),
                change(`refs/heads/own-${round}-${rival}`, undefined, oid(1)),
              ]),
            ),
          ),
        );
        const won = outcomes.filter(
          (outcome) => outcome.kind === "committed" && outcome.results[0]?.refusal === undefined,
        );
        assert.equal(won.length, 1);
        for (const outcome of outcomes) {
          assert.equal(outcome.kind, "committed");
          assert.equal(outcome.results[1]?.refusal, undefined);
        }
      }
      const log = await store().readRefLog(id, 0, 1000);
      assert.deepEqual(
        log.map(({ generation }) => generation),
        Array.from({ length: rounds * 4 }, (_, index) => index + 1),
      );
      assert.deepEqual(replay(log.map(({ changes }) => changes)), asMap(await store().readRefs(id)));
    });
  });

  void test("readers see each generation whole", async () => {
    await withSecond(factory, async (second) => {
      const { id } = await repositoryIn(store());
      const writer = { done: false };
      const write = async (): Promise<void> => {
        for (let round = 0; round < 30; round++) {
          const old = round === 0 ? undefined : oid(round);
          const changes = ["a", "b", "c"].map((name) => change(`refs/heads/${name}`, old, oid(round + 1)));
          await committed(second, commitOf(id, changes));
        }
        writer.done = true;
      };
      const read = async (): Promise<void> => {
        let reads = 0;
        while (!writer.done || reads === 0) {
          const { generation, refs } = await store().readRefs(id);
          reads++;
          assert.deepEqual(
            refs.map((ref) => ref.oid),
            generation === 0 ? [] : [oid(generation), oid(generation), oid(generation)],
          );
          // In-process databases answer without giving others a turn.
          await new Promise((resolve) => void setImmediate(resolve));
        }
      };
      await Promise.all([write(), read()]);
    });
  });
}

function replay(log: readonly (readonly RefChange[])[]): Map<string, string> {
  const refs = new Map<string, string>();
  for (const changes of log) {
    for (const { name, oldOid, newOid } of changes) {
      assert.equal(refs.get(name), oldOid);
      if (newOid === undefined) refs.delete(name);
      else refs.set(name, newOid);
    }
  }
  return refs;
}

function asMap({
  refs,
}: {
  readonly refs: readonly { readonly name: string; readonly oid: string }[];
}): Map<string, string> {
  return new Map(refs.map(({ name, oid: value }) => [name, value]));
}

async function withSecond(factory: StoreFactory, work: (second: Store) => Promise<void>): Promise<void> {
  const second = await factory.open();
  try {
    await work(second);
  } finally {
    await second.close();
  }
}
