/** The contract of repositories as records, and of migrations. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { v7 as uuid } from "uuid";
import type { RepositoryQuery, Store } from "../store.ts";
import {
  change,
  commitOf,
  committed,
  newRepository,
  oid,
  rejectsWith,
  repositoryIn,
  type StoreFactory,
} from "./fixtures.ts";

export function repositoryContract(store: () => Store, factory: StoreFactory): void {
  void test("answers a ping and says what it is", async () => {
    await store().ping();
    assert.match(store().engine, /^(?:SQLite|MariaDB|MySQL|PostgreSQL)$/);
  });

  void test("migrating again changes nothing", async () => {
    await store().migrate();
  });

  // Two stores on one database: not to be had in memory.
  if (factory.openFresh !== undefined)
    void test("two controllers that migrate one empty database at once", async () => {
      assert.ok(factory.openFresh !== undefined);
      const database = "fresh_migrate";
      const stores = [
        await factory.openFresh(database),
        await factory.openFresh(database),
        await factory.openFresh(database),
      ];
      try {
        await Promise.all(stores.map((each) => each.migrate()));
        const none = { total: 0, degraded: 0, behind: 0, wantedLeast: 0, wantedMost: 0 };
        assert.deepEqual(await stores[0]?.countRepositories(), none);
      } finally {
        await Promise.all(stores.map((each) => each.close()));
      }
    });

  void test("gives back a new repository by name and by id", async () => {
    const made = newRepository({
      objectFormat: "sha256",
      description: "Grüße 🎉",
      defaultBranch: "refs/heads/\xff",
      placements: [
        { nodeId: "n2", created: true },
        { nodeId: "n1", created: false },
        { nodeId: "n3", created: true },
      ],
    });
    await store().createRepository(made);
    const found = await store().findRepository(made.name);
    assert.deepEqual(found, await store().getRepository(made.id));
    assert.deepEqual(found?.repository, {
      id: made.id,
      name: made.name,
      objectFormat: "sha256",
      defaultBranch: "refs/heads/\xff",
      description: "Grüße 🎉",
      replicasWanted: 3,
      denyDeletes: false,
      denyNonFastForwards: false,
      generation: 0,
      aheadGeneration: -1,
      createdMs: 1000,
      pushedMs: -1,
    });
    const [first, second, third] = found.replicas;
    assert.deepEqual(first, {
      repositoryId: made.id,
      nodeId: "n2",
      state: "READY",
      generation: 0,
      missedGeneration: -1,
      reason: "",
      stateSinceMs: 1000,
      sizeBytes: 0,
      verifiedMs: 1000,
      damaged: false,
      copyNumber: 1000,
    });
    assert.equal(second?.nodeId, "n1");
    assert.equal(second.state, "STALE");
    assert.equal(second.generation, -1);
    assert.notEqual(second.reason, "");
    assert.equal(third?.nodeId, "n3");
    assert.equal(await store().findRepository("no such"), undefined);
    assert.equal(await store().getRepository(uuid()), undefined);
  });

  void test("some by their ids", async () => {
    const made = [await repositoryIn(store()), await repositoryIn(store(), { placements: [] })];
    const found = await store().getRepositories([...made.map(({ id }) => id), uuid()]);
    assert.deepEqual(
      made.map(({ id }) => found.find(({ repository }) => repository.id === id)?.replicas.length),
      [3, 0],
    );
    assert.equal(found.length, 2);
    assert.deepEqual(await store().getRepositories([]), []);
  });

  void test("a repository without replicas is found too", async () => {
    const made = await repositoryIn(store(), { placements: [] });
    assert.deepEqual((await store().findRepository(made.name))?.replicas, []);
  });

  void test("names are bytes: case, accents and spaces are distinct", async () => {
    const prefix = uuid();
    const names = ["a", "A", "á", "a\u0301", "a ", "ä", "a/b"].map((name) => `${prefix}/${name}`);
    for (const name of names) await repositoryIn(store(), { name });
    for (const name of names) assert.equal((await store().findRepository(name))?.repository.name, name);
    await rejectsWith(store().createRepository(newRepository({ name: `${prefix}/A` })), "repository-exists");
    const page = await store().listRepositories({ contains: prefix, limit: 100 });
    const bytewise = names.toSorted((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
    assert.deepEqual(
      page.items.map((item) => item.repository.name),
      bytewise,
    );
  });

  void test("updates what is given and nothing else", async () => {
    const made = await repositoryIn(store());
    const name = `renamed-${made.id}`;
    const patch = {
      name,
      description: "new",
      denyDeletes: true,
      denyNonFastForwards: true,
      defaultBranch: "refs/heads/main",
    };
    const updated = await store().updateRepository(made.id, patch);
    assert.deepEqual(updated, { ...made, ...patch });
    assert.deepEqual((await store().findRepository(name))?.repository, updated);
    assert.equal(await store().findRepository(made.name), undefined);
    assert.deepEqual(await store().updateRepository(made.id, {}), updated);
    const other = await repositoryIn(store());
    await rejectsWith(store().updateRepository(other.id, { name }), "repository-exists");
    await rejectsWith(store().updateRepository(uuid(), { name: "x" }), "repository-not-found");
  });

  void test("deletes with a tombstone, and the name is free again", async () => {
    const made = await repositoryIn(store());
    await committed(store(), commitOf(made.id, [change("refs/heads/a", undefined, oid(1))]));
    assert.equal(await store().deletedMs(made.id), undefined);
    const replicas = await store().deleteRepository(made.id, 5000);
    assert.deepEqual(
      replicas.map(({ nodeId }) => nodeId),
      ["n1", "n2", "n3"],
    );
    assert.equal(await store().deletedMs(made.id), 5000);
    assert.equal(await store().findRepository(made.name), undefined);
    assert.deepEqual(await store().readRefLog(made.id, 0, 10), []);
    await rejectsWith(store().deleteRepository(made.id, 5000), "repository-not-found");
    await rejectsWith(store().readRefs(made.id), "repository-not-found");
    const again = await repositoryIn(store(), { name: made.name });
    assert.deepEqual(await store().readRefs(again.id), { generation: 0, refs: [] });
  });

  void test("counts, and counts those with too few READY replicas", async () => {
    const before = await store().countRepositories();
    const one = await repositoryIn(store());
    const other = await repositoryIn(store());
    const total = before.total + 2;
    assert.partialDeepStrictEqual(await store().countRepositories(), { total, degraded: before.degraded });
    await store().markStale(one.id, ["n1"], "test", 1);
    assert.partialDeepStrictEqual(await store().countRepositories(), { total, degraded: before.degraded + 1 });
    await store().updateRepository(one.id, { replicasWanted: 2 });
    assert.partialDeepStrictEqual(await store().countRepositories(), { total, degraded: before.degraded });
    await store().noteAhead(other.id, "n1", 9, 1);
    await store().updateRepository(one.id, { replicasWanted: 1 });
    await store().updateRepository(other.id, { replicasWanted: 64 });
    const wanted = { wantedLeast: 1, wantedMost: 64 };
    assert.partialDeepStrictEqual(await store().countRepositories(), { total, behind: before.behind + 1, ...wanted });
  });

  void test("lists by name, creation and last push, both ways, page by page", async () => {
    const prefix = uuid();
    const made: string[] = [];
    for (const [index, name] of ["c", "a", "e", "b", "d"].entries()) {
      // Two share a creation time: the name decides between them.
      const repository = await repositoryIn(store(), {
        name: `${prefix}/${name}`,
        createdMs: 1000 + Math.floor(index / 2),
      });
      made.push(repository.id);
    }
    for (const [index, id] of made.entries()) {
      if (index > 2) continue;
      const changes = [change(branchOf(index), undefined, oid(1))];
      await committed(store(), commitOf(id, changes, { committedMs: 9000 - index }));
    }
    const order = async (sort: RepositoryQuery["sort"]): Promise<string> => {
      let names = "";
      for (let cursor: string | undefined, pages = 0; ; pages++) {
        const page = await store().listRepositories({ contains: prefix, sort, cursor, limit: 2 });
        names += page.items.map((item) => item.repository.name.slice(-1)).join("");
        for (const item of page.items) assert.equal(item.replicas.length, 3);
        if (page.next === undefined) {
          assert.equal(pages, 2);
          return names;
        }
        cursor = page.next;
      }
    };
    assert.equal(await order(undefined), "abcde");
    assert.equal(await order("-name"), "edcba");
    assert.equal(await order("created"), "acbed");
    assert.equal(await order("-created"), "debca");
    assert.equal(await order("pushed"), "bdeac");
    assert.equal(await order("-pushed"), "caedb");
  });

  void test("filters by part of the name, exactly, and by state", async () => {
    const prefix = uuid();
    const healthy = await repositoryIn(store(), { name: `${prefix}/50%_Off` });
    const degraded = await repositoryIn(store(), { name: `${prefix}/50xxOff`, placements: [] });
    const find = async (query: Partial<RepositoryQuery>): Promise<string[]> =>
      (await store().listRepositories({ contains: prefix, limit: 10, ...query })).items.map(
        (item) => item.repository.id,
      );
    assert.deepEqual(await find({}), [healthy.id, degraded.id]);
    assert.deepEqual(await find({ contains: `${prefix}/50%_` }), [healthy.id]);
    assert.deepEqual(await find({ contains: `${prefix}/50%_o` }), []);
    assert.deepEqual(await find({ state: "healthy" }), [healthy.id]);
    assert.deepEqual(await find({ state: "degraded" }), [degraded.id]);
    assert.deepEqual(await find({ state: "degraded", sort: "-pushed" }), [degraded.id]);
  });

  void test("refuses a cursor that it did not give", async () => {
    for (const cursor of [
      "",
      "x",
      Buffer.from("[]").toString("base64url"),
      Buffer.from('["created",null,"x"]').toString("base64url"),
    ]) {
      await rejectsWith(store().listRepositories({ cursor, limit: 2 }), "bad-request");
    }
  });
}

function branchOf(index: number): string {
  return `refs/heads/b${index}`;
}
