/** Lists of people are read from indexes from where the page begins, however many rows there are. On SQLite, which says so. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, before, test } from "node:test";
import { DummyDriver, Kysely, SqliteAdapter, SqliteIntrospector, SqliteQueryCompiler, type Compilable } from "kysely";
import { openStore } from "../open-store.ts";
import type { RepositoryQuery } from "../store.ts";
import { selectEvents } from "./events.ts";
import { selectPage } from "./repository-pages.ts";
import type { Schema } from "./schema.ts";

/** Compiles only. */
const db = new Kysely<Schema>({
  dialect: {
    createAdapter: () => new SqliteAdapter(),
    createDriver: () => new DummyDriver(),
    createIntrospector: (kysely) => new SqliteIntrospector(kysely),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  },
});
const directory = mkdtempSync(join(tmpdir(), "gitmesh-plans-"));
const file = join(directory, "store.sqlite");
let database: DatabaseSync;

before(async () => {
  const store = await openStore(`sqlite:${file}`);
  await store.migrate();
  await store.close();
  database = new DatabaseSync(file);
});
after(() => {
  database.close();
  rmSync(directory, { recursive: true });
});

function planOf(query: Compilable): string {
  const { sql, parameters } = query.compile();
  const rows = database.prepare(`explain query plan ${sql}`).all(...(parameters as (string | number)[]));
  return rows.map(({ detail }) => String(detail)).join("\n");
}

const cursor = (sort: string): string => Buffer.from(JSON.stringify([sort, -1, "m"])).toString("base64url");
const pages: readonly [RepositoryQuery["sort"], RepositoryQuery["state"], RegExp][] = [
  ["-pushed", undefined, /repositories_pushed \(\(pushed_ms,name\)<\(\?,\?\)\)/],
  ["created", undefined, /repositories_created \(\(created_ms,name\)>\(\?,\?\)\)/],
  ["pushed", "degraded", /repositories_degraded_pushed \(degraded=\? AND \(pushed_ms,name\)>\(\?,\?\)\)/],
  ["-created", "healthy", /repositories_degraded_created \(degraded=\? AND \(created_ms,name\)<\(\?,\?\)\)/],
];
for (const [sort = "name", state, expected] of pages) {
  test(`a page of repositories by ${sort}, ${state ?? "all"}: begins in the index where the last one ended`, () => {
    const plan = planOf(selectPage(db, "sqlite", { sort, state, cursor: cursor(sort), limit: 50 }));
    assert.match(plan, expected);
    assert.doesNotMatch(plan, /TEMP B-TREE|SCAN repositories/);
  });
}

test("events of some kinds: some of each kind from its index", () => {
  const plan = planOf(selectEvents(db, { kinds: ["node-dead", "repair-stuck"], before: 1000, limit: 50 }));
  assert.equal(plan.match(/SEARCH events USING INDEX events_kind \(kind=\? AND id<\?\)/g)?.length, 2, plan);
  assert.doesNotMatch(plan, /SCAN events/);
});
