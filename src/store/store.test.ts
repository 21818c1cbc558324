/** The contract over every engine, and what only a database server can do to its clients: die, restart, go silent. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { DatabaseSync } from "node:sqlite";
import { openDatabaseProxy } from "../../test/support/database-proxy.ts";
import { skipReason, startDatabase, type ServerEngine, type TestDatabase } from "../../test/support/databases.ts";
import { waitFor } from "../../test/support/wait.ts";
import { GitmeshError } from "../base/errors.ts";
import {
  change,
  commitOf,
  committed,
  oid,
  rejectsWith,
  repositoryIn,
  newRepository,
  registrationOf,
} from "./testing/fixtures.ts";
import { openStore } from "./open-store.ts";
import { storeContract } from "./testing/store-contract.ts";
import type { Store } from "./store.ts";

const topic = "refs/heads/topic";

async function migrated(url: string): Promise<Store> {
  const store = await openStore(url);
  await store.migrate();
  return store;
}

describe("store on SQLite in memory", () => {
  storeContract({ open: () => migrated("sqlite::memory:"), openFresh: undefined });
});

describe("store on a SQLite file", () => {
  let directory = "";
  before(() => {
    directory = mkdtempSync(path.join(tmpdir(), "gitmesh-store-"));
  });
  after(() => rmSync(directory, { recursive: true, force: true }));
  const urlOf = (database: string): string => `sqlite:${path.join(directory, "deep", database)}`;

  storeContract({
    open: () => migrated(urlOf("main.sqlite")),
    openFresh: (database) => openStore(urlOf(database)),
  });

  test("refuses a database of a newer program", async () => {
    const url = urlOf("newer.sqlite");
    const store = await migrated(url);
    const database = new DatabaseSync(url.slice("sqlite:".length));
    database.exec("insert into schema_migrations values (1000, 'later', 0)");
    database.close();
    await assert.rejects(store.migrate(), /schema version 1000, but this program knows only those up to/);
    await store.close();
  });

  test("a file that cannot be opened is store-unavailable", async () => {
    await rejectsWith(openStore(`sqlite:${directory}`), "store-unavailable");
  });

  test("waits for another process's transaction without holding up this one", async () => {
    const url = urlOf("busy.sqlite");
    const store = await migrated(url);
    const { id } = await repositoryIn(store);
    const other = new DatabaseSync(url.slice("sqlite:".length));
    other.exec("begin immediate");
    let waiting = true;
    const commit = committed(store, commitOf(id, [change(topic, undefined, oid(1))])).finally(() => {
      waiting = false;
    });
    const before = performance.now();
    await store.readRefs(id);
    assert.ok(performance.now() - before < 500, "reads go on");
    assert.equal(waiting, true);
    other.exec("rollback");
    other.close();
    await commit;
    await store.close();
  });
});

test("an unknown kind of database is refused without showing its password", async () => {
  await assert.rejects(openStore("oracle://scott:tiger@db"), (error: Error) => !error.message.includes("tiger"));
});

for (const engine of ["mariadb", "postgres"] as const) serverSuite(engine);

function serverSuite(engine: ServerEngine): void {
  describe(`store on ${engine}`, { skip: skipReason(engine) }, () => {
    let server: TestDatabase;
    const freshUrls = new Map<string, Promise<string>>();
    before(async () => {
      server = await startDatabase(engine);
    });
    after(() => server.stop());
    const fresh = (database: string): Promise<string> => {
      const url = freshUrls.get(database) ?? server.create(database);
      freshUrls.set(database, url);
      return url;
    };

    storeContract({
      open: () => migrated(server.url),
      openFresh: async (database) => openStore(await fresh(database)),
    });

    test("a COMMIT whose answer is lost is found out: committed once", async () => {
      await lostCommit(server, { forward: true });
    });

    test("a COMMIT that never arrived is done again: committed once", async () => {
      await lostCommit(server, { forward: false });
    });

    test("a push without an answer, and then a deleted repository: not known, and said so", async () => {
      const proxy = await openDatabaseProxy(server.url);
      const store = await openStore(proxy.url);
      const other = await openStore(server.url);
      try {
        const { id } = await repositoryIn(store);
        proxy.cutNext("after", { down: true });
        const push = store.commitRefs(commitOf(id, [change(topic, undefined, oid(1))]));
        push.catch(() => {});
        await waitFor(async () => (await other.readRefs(id)).generation === 1, { what: "the push to be there" });
        await other.deleteRepository(id, 5);
        proxy.heal();
        await assert.rejects(push, (error) => {
          assert.ok(error instanceof GitmeshError);
          assert.deepEqual([error.code, error.fields["outcome"]], ["store-unavailable", "unknown"]);
          return true;
        });
      } finally {
        await store.close();
        await other.close();
        proxy.close();
      }
    });

    for (const cut of ["before", "after"] as const) {
      test(`a COMMIT that is cut ${cut} it arrives: created, changed and deleted exactly once`, async () => {
        const proxy = await openDatabaseProxy(server.url);
        const store = await openStore(proxy.url);
        try {
          await store.ping();
          const made = newRepository();
          proxy.cutNext(cut);
          await store.createRepository(made);
          proxy.cutNext(cut);
          assert.equal((await store.updateRepository(made.id, { name: `${made.name}-2` })).name, `${made.name}-2`);
          proxy.cutNext(cut);
          assert.equal(await store.addReplica(made.id, await nodeIn(store), "", 1), true);
          proxy.cutNext(cut);
          const replicas = await store.deleteRepository(made.id, 5);
          assert.equal(replicas.length, 4);
          assert.equal(proxy.cuts, 4);
          assert.equal(await store.deletedMs(made.id), 5);
          await rejectsWith(store.deleteRepository(made.id, 6), "repository-not-found");
        } finally {
          await store.close();
          proxy.close();
        }
      });

      test(`a COMMIT that is cut ${cut} it arrives, and nothing answers in time: not known, and said so`, async () => {
        const proxy = await openDatabaseProxy(server.url);
        const store = await openStore(proxy.url, { resolveMs: 300 });
        try {
          await store.ping();
          const made = newRepository();
          proxy.cutNext(cut, { down: true });
          await assert.rejects(store.createRepository(made), (error) => {
            assert.ok(error instanceof GitmeshError);
            assert.deepEqual([error.code, error.fields["outcome"]], ["store-unavailable", "unknown"]);
            return true;
          });
          proxy.heal();
          await untilItAnswers(store);
          assert.equal((await store.getRepository(made.id)) !== undefined, cut === "after");
        } finally {
          await store.close();
          proxy.close();
        }
      });
    }

    test("a database that dies is store-unavailable, and calls work again once it is back", async () => {
      const store = await migrated(server.url);
      try {
        const { id, name } = await repositoryIn(store);
        await committed(store, commitOf(id, [change(topic, undefined, oid(1))]));
        await server.crash();
        await rejectsWith(store.findRepository(name), "store-unavailable");
        await rejectsWith(store.commitRefs(commitOf(id, [change(topic, oid(1), oid(2))])), "store-unavailable");
        await rejectsWith(store.ping(), "store-unavailable");
        await rejectsWith(store.migrate(), "store-unavailable");
        await server.restart();
        await untilItAnswers(store);
        assert.equal((await store.findRepository(name))?.repository.generation, 1);
        assert.equal((await committed(store, commitOf(id, [change(topic, oid(1), oid(2))]))).generation, 2);
      } finally {
        await store.close();
      }
    });

    test("a database that goes silent is store-unavailable within the limit", async () => {
      const proxy = await openDatabaseProxy(server.url);
      const store = await openStore(proxy.url, { limits: { statementMs: 1000, acquireMs: 5000 } });
      try {
        await store.ping();
        proxy.silence();
        const before = performance.now();
        await rejectsWith(store.ping(), "store-unavailable");
        assert.ok(performance.now() - before < 20_000);
        proxy.heal();
        await untilItAnswers(store);
      } finally {
        await store.close();
        proxy.close();
      }
    });
  });
}

async function nodeIn(store: Store): Promise<string> {
  const node = registrationOf();
  await store.registerNode(node);
  return node.id;
}

async function untilItAnswers(store: Store): Promise<void> {
  await waitFor(
    async () => {
      await store.ping();
      return true;
    },
    { what: "the store to answer" },
  );
}

/** Breaks the connection at a COMMIT, before or after the database gets it. */
async function lostCommit(server: TestDatabase, { forward }: { readonly forward: boolean }): Promise<void> {
  let logged = 0;
  const proxy = await openDatabaseProxy(server.url);
  proxy.watch((bytes) => {
    if (/insert into .ref_log/.test(bytes.toString("latin1"))) logged++;
  });
  const store = await openStore(proxy.url);
  try {
    const { id } = await repositoryIn(store);
    await committed(store, commitOf(id, [change(topic, undefined, oid(1))]));
    proxy.cutNext(forward ? "after" : "before");
    logged = 0;
    const commit = commitOf(id, [change(topic, oid(1), oid(2)), change("refs/heads/x", oid(5), oid(6))], {
      stagedNodeIds: ["n1", "n2"],
    });
    const outcome = await committed(store, commit);
    assert.equal(proxy.cuts, 1);
    assert.equal(logged, forward ? 1 : 2, "done again only if it had not been done");
    assert.equal(outcome.generation, 2);
    assert.deepEqual(outcome.staleNodeIds, ["n3"]);
    assert.deepEqual(
      outcome.results.map(({ refusal }) => refusal === undefined),
      [true, false],
    );
    assert.equal((await store.readRefLog(id, 0, 10)).length, 2);
  } finally {
    await store.close();
    proxy.close();
  }
}
