/** The contract over every engine, and what only a database server can do to its clients: die, restart, go silent. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { DatabaseSync } from "node:sqlite";
import { skipReason, startDatabase, type ServerEngine, type TestDatabase } from "../../test/support/databases.ts";
import { change, commitOf, committed, oid, rejectsWith, repositoryIn } from "./testing/fixtures.ts";
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
        assert.equal((await store.findRepository(name))?.repository.generation, 1);
        assert.equal((await committed(store, commitOf(id, [change(topic, oid(1), oid(2))]))).generation, 2);
      } finally {
        await store.close();
      }
    });

    test("a database that goes silent is store-unavailable within the limit", async () => {
      const proxy = await openProxy(server.url, () => "pass");
      const store = await openStore(proxy.url, { limits: { statementMs: 200, acquireMs: 500 } });
      try {
        await store.ping();
        proxy.silence();
        const before = performance.now();
        await rejectsWith(store.ping(), "store-unavailable");
        assert.ok(performance.now() - before < 3000);
        proxy.heal();
        await store.ping();
      } finally {
        await store.close();
        proxy.close();
      }
    });
  });
}

/** Breaks the connection at a COMMIT, before or after the database gets it. */
async function lostCommit(server: TestDatabase, { forward }: { readonly forward: boolean }): Promise<void> {
  let armed = false;
  let broken = 0;
  let logged = 0;
  const proxy = await openProxy(server.url, (bytes) => {
    if (/insert into .ref_log/.test(bytes.toString("latin1"))) logged++;
    if (!armed || !isCommit(bytes)) return "pass";
    armed = false;
    broken++;
    return forward ? "pass-and-break" : "break";
  });
  const store = await openStore(proxy.url);
  try {
    const { id } = await repositoryIn(store);
    await committed(store, commitOf(id, [change(topic, undefined, oid(1))]));
    armed = true;
    logged = 0;
    const commit = commitOf(id, [change(topic, oid(1), oid(2)), change("refs/heads/x", oid(5), oid(6))], {
      stagedNodeIds: ["n1", "n2"],
    });
    const outcome = await committed(store, commit);
    assert.equal(broken, 1);
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

/** The statement alone: MySQL's packet ends with it, PostgreSQL's text with a zero; columns have names like it. */
function isCommit(bytes: Buffer): boolean {
  return bytes.includes("commit\0") || bytes.subarray(-7).equals(Buffer.from("\u0003commit"));
}

type Verdict = "pass" | "break" | "pass-and-break";

interface Proxy {
  readonly url: string;
  /** From now on no byte passes, and nobody is told. */
  silence(): void;
  heal(): void;
  close(): void;
}

/** Between the store and its database; `judge` sees what the store sends. */
async function openProxy(databaseUrl: string, judge: (bytes: Buffer) => Verdict): Promise<Proxy> {
  const { hostname, port } = new URL(databaseUrl);
  const sockets = new Set<Socket>();
  let silent = false;
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => {});
      socket.on("close", () => sockets.delete(socket));
    }
    client.on("data", (bytes: Buffer) => {
      if (silent) return;
      const verdict = judge(bytes);
      if (verdict !== "break") upstream.write(bytes);
      if (verdict === "pass") return;
      client.destroy();
      // What was forwarded reaches the database before the end of the connection does.
      upstream.end();
    });
    upstream.on("data", (bytes: Buffer) => {
      if (!silent && !client.destroyed) client.write(bytes);
    });
    client.on("close", () => upstream.end());
    upstream.on("close", () => client.destroy());
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return {
    url: databaseUrl.replace(`:${port}`, `:${address.port}`),
    silence: () => {
      silent = true;
    },
    heal: () => {
      silent = false;
    },
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
