import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { GitmeshError } from "../base/errors.ts";
import type { RefChange, RefLogEntry, RefsAtGeneration, Store, StoredRef } from "../store/store.ts";
import { mergeRefs, RefSnapshots } from "./ref-snapshot.ts";
import { repository } from "./testing/cluster-states.ts";

const oid = (digit: number) => digit.toString(16).repeat(40).slice(0, 40);

/** A store that has only refs and their log, and counts what is asked of it. */
class RefStore {
  refs: readonly StoredRef[] = [];
  log: RefLogEntry[] = [];
  reads = 0;
  logReads = 0;
  gone = false;
  down = false;
  generation = 0;

  commit(...changes: RefChange[]): void {
    this.generation += 1;
    const entry = { generation: this.generation, pushId: "", committedMs: 0, changes };
    this.log.push(entry);
    this.refs = mergeRefs(this.refs, [entry]);
  }

  async readRefs(): Promise<RefsAtGeneration> {
    this.reads += 1;
    if (this.down) throw new GitmeshError("store-unavailable", "down");
    if (this.gone) throw new GitmeshError("repository-not-found", "gone");
    const { generation, refs } = this;
    await new Promise((resolve) => setImmediate(resolve));
    return { generation, refs };
  }

  async readRefLog(_id: string, after: number, limit: number): Promise<readonly RefLogEntry[]> {
    this.logReads += 1;
    if (this.down) throw new GitmeshError("store-unavailable", "down");
    return this.log.filter((entry) => entry.generation > after).slice(0, limit);
  }
}

function setUp(bytesMax = 1e6, staleReads = false) {
  const store = new RefStore();
  // Only these two methods are used.
  const snapshots = new RefSnapshots(store as unknown as Store, bytesMax, staleReads);
  const get = (generation = store.generation) => snapshots.get(repository({ generation }));
  return { store, get, snapshots };
}

const create = (name: string, digit: number): RefChange => ({
  name,
  oldOid: undefined,
  newOid: oid(digit),
  peeled: undefined,
});
const remove = (name: string): RefChange => ({ name, oldOid: oid(1), newOid: undefined, peeled: undefined });
const names = (set: { refs: readonly StoredRef[] }) =>
  set.refs.map(({ name }) => name.slice("refs/heads/".length)).join(" ");

test("a snapshot is read once, brought up to date from the log, and never older than asked for", async () => {
  const { store, get } = setUp();
  store.commit(create("refs/heads/b", 1), create("refs/heads/d", 2));
  assert.equal(names(await get()), "b d");
  assert.equal(names(await get()), "b d");
  assert.deepEqual([store.reads, store.logReads], [1, 0]);
  store.commit(create("refs/heads/a", 3), create("refs/heads/c", 3), remove("refs/heads/d"));
  store.commit(create("refs/heads/e", 3));
  const newer = await get();
  assert.equal(names(newer), "a b c e");
  assert.equal(newer.generation, 3);
  assert.deepEqual([store.reads, store.logReads], [1, 1]);
  assert.equal((await get(1)).generation, 3, "newer than asked for is fine");
});

test("with a trimmed log, or far behind, the whole is read", async () => {
  const { store, get } = setUp();
  await get();
  store.commit(create("refs/heads/a", 1));
  store.commit(create("refs/heads/b", 1));
  store.log = store.log.slice(1);
  assert.equal(names(await get()), "a b");
  assert.deepEqual([store.reads, store.logReads], [2, 1]);
  for (let index = 0; index < 201; index += 1) store.commit(create("refs/heads/c", 1));
  assert.equal(names(await get()), "a b c");
  assert.equal(store.reads, 3);
});

test("a store that never has the generation asked for ends in an error", async () => {
  const { get } = setUp();
  await assert.rejects(get(5), { code: "internal" });
});

test("many at once share one read, but none gets what was read before its own commit", async () => {
  const { store, get } = setUp();
  store.commit(create("refs/heads/a", 1));
  const early = [get(), get(), get()];
  await Promise.resolve();
  store.commit(create("refs/heads/b", 1));
  const late = get();
  for (const snapshot of await Promise.all(early)) assert(snapshot.generation >= 1);
  assert.equal(store.reads, 1);
  assert.equal(names(await late), "a b");
});

test("written answers are kept per generation and HEAD", async () => {
  const { store, get, snapshots } = setUp();
  store.commit(create("refs/heads/a", 1));
  let written = 0;
  const write = (): Buffer => Buffer.from(String((written += 1)));
  assert.equal((await get()).encoded("x", write).toString(), "1");
  assert.equal((await get()).encoded("x", write).toString(), "1");
  assert.equal((await get()).encoded("y", write).toString(), "2");
  const other = await snapshots.get(repository({ generation: 1, defaultBranch: "refs/heads/main" }));
  assert.equal(other.encoded("x", write).toString(), "3");
  store.commit(create("refs/heads/b", 1));
  assert.equal((await get()).encoded("x", write).toString(), "4");
});

test("the memory is bounded: what does not fit is read again", async () => {
  const { store, get } = setUp(3000);
  for (let index = 0; index < 50; index += 1) store.commit(create(`refs/heads/${index}`, 1));
  await get();
  await get();
  assert.equal(store.reads, 2);
});

test("a repository that is gone is told, and forgotten", async () => {
  const { store, get } = setUp();
  store.gone = true;
  await assert.rejects(get(), { code: "repository-not-found" });
  store.gone = false;
  assert.equal((await get()).generation, 0);
});

test("merging log entries equals applying them one by one", () => {
  const name = fc.constantFrom("refs/a", "refs/b", "refs/c/d", "refs/c0", "refs/z");
  const change = fc.record({ name, value: fc.option(fc.integer({ min: 1, max: 15 })) });
  fc.assert(
    fc.property(fc.array(fc.array(change, { maxLength: 4 }), { maxLength: 8 }), (pushes) => {
      const model = new Map<string, string>();
      const entries = pushes.map((changes, index): RefLogEntry => ({
        generation: index + 1,
        pushId: "",
        committedMs: 0,
        changes: changes.map((one) => (one.value === null ? remove(one.name) : create(one.name, one.value))),
      }));
      for (const { changes } of entries) {
        for (const one of changes) {
          if (one.newOid === undefined) model.delete(one.name);
          else model.set(one.name, one.newOid);
        }
      }
      const half = Math.floor(entries.length / 2);
      const merged = mergeRefs(mergeRefs([], entries.slice(0, half)), entries.slice(half));
      const expected = [...model].toSorted(([one], [other]) => (one < other ? -1 : 1));
      assert.deepEqual(
        merged.map((ref) => [ref.name, ref.oid]),
        expected,
      );
    }),
  );
});

test("while the store does not answer, an older snapshot is given only if stale reads are allowed", async () => {
  for (const staleReads of [false, true]) {
    const { store, get, snapshots } = setUp(1e6, staleReads);
    store.down = true;
    await assert.rejects(get(), { code: "store-unavailable" }, "there is none");
    store.down = false;
    const { generation } = await get();
    store.down = true;
    assert.equal((await get(generation)).generation, generation, "new enough as far as is known");
    if (staleReads) assert.equal((await get(generation + 1)).generation, generation);
    else await assert.rejects(get(generation + 1), { code: "store-unavailable" });
    store.down = false;
    store.generation = generation + 1;
    assert.equal((await get()).generation, generation + 1, "it was not forgotten");
    snapshots.clear();
    store.down = true;
    await assert.rejects(get(), { code: "store-unavailable" });
  }
});
