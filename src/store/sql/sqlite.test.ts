import assert from "node:assert/strict";
import { existsSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { sql } from "kysely";
import { systemClock } from "../../base/clock.ts";
import { SessionPool } from "./pool.ts";
import { ConnectionLostError, type Session } from "./session.ts";
import { kyselyOver, openSqlite } from "./sqlite.ts";

const limits = { sessionsMax: 2, waitingMax: 10, acquireMs: 2000, statementMs: 2000, slowMs: 2000 };

function sessionThat(execute: Session["execute"]): Session {
  return { broken: false, execute, close() {} };
}

test("a connection that could not be opened holds up none that comes after", async () => {
  let opened = 0;
  const db = kyselyOver(
    new SessionPool(
      async () => {
        opened += 1;
        if (opened === 1) throw new ConnectionLostError("too many open files");
        return sessionThat(async () => ({ rows: [{ one: 1 }], affectedRows: undefined }));
      },
      limits,
      systemClock,
    ),
  );
  await assert.rejects(sql`select 1 as one`.execute(db), ConnectionLostError);
  const answer = sql`select 1 as one`.execute(db).then(({ rows }) => rows);
  const late = systemClock.sleep(1000).then(() => "no answer");
  assert.deepEqual(await Promise.race([answer, late]), [{ one: 1 }]);
});

test("a slow read holds up no other", async () => {
  const slow = Promise.withResolvers<void>();
  let opened = 0;
  const db = kyselyOver(
    new SessionPool(
      async () => {
        opened += 1;
        const isFirst = opened === 1;
        return sessionThat(async () => {
          if (isFirst) await slow.promise;
          return { rows: [], affectedRows: undefined };
        });
      },
      limits,
      systemClock,
    ),
  );
  const first = sql`select 1`.execute(db);
  const late = systemClock.sleep(1000).then(() => "no answer");
  assert.notEqual(await Promise.race([sql`select 2`.execute(db), late]), "no answer");
  slow.resolve();
  await first;
});

for (const lost of ["", "-wal"]) {
  test(`nothing is committed to a file that is not there any more: ${lost === "" ? "the database" : lost}`, async (t) => {
    const directory = mkdtempSync(join(tmpdir(), "gitmesh-sqlite-"));
    const file = join(directory, "store.sqlite");
    const engine = openSqlite(file, limits, systemClock);
    t.after(async () => {
      await Promise.all(engine.pools.map((pool) => pool.destroy()));
      rmSync(directory, { recursive: true });
    });
    await sql`create table things (x)`.execute(engine.writer);
    await sql`select x from things`.execute(engine.reader);
    renameSync(file + lost, join(directory, "elsewhere"));
    await assert.rejects(sql`insert into things values (1)`.execute(engine.writer), ConnectionLostError);
    await assert.rejects(sql`select x from things`.execute(engine.reader), ConnectionLostError);
    await assert.rejects(sql`begin immediate`.execute(engine.writer), ConnectionLostError);
    assert.ok(!existsSync(file + lost), "made anew");
    writeFileSync(file + lost, "");
    await assert.rejects(sql`insert into things values (1)`.execute(engine.writer), /deleted or replaced/);
    // Back in its place it is the same file.
    renameSync(join(directory, "elsewhere"), file + lost);
    await sql`insert into things values (1)`.execute(engine.writer);
    assert.equal((await sql`select x from things`.execute(engine.reader)).rows.length, 1);
  });
}
