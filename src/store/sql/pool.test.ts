import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { CompiledQuery } from "kysely";
import { systemClock } from "../../base/clock.ts";
import { SessionPool } from "./pool.ts";
import { ConnectionLostError, type Session, type SessionResult } from "./session.ts";

class FakeSession implements Session {
  broken = false;
  closed = false;
  answer: Promise<SessionResult> = Promise.resolve({ rows: [], affectedRows: undefined });

  execute(): Promise<SessionResult> {
    return this.answer;
  }

  close(): void {
    this.broken = true;
    this.closed = true;
  }
}

function poolOf(
  limits: { readonly sessionsMax?: number; readonly waitingMax?: number; readonly fails?: () => boolean } = {},
) {
  const sessions: FakeSession[] = [];
  const open = async (): Promise<Session> => {
    if (limits.fails?.() === true) throw new ConnectionLostError("refused");
    const session = new FakeSession();
    sessions.push(session);
    return session;
  };
  const { sessionsMax = 2, waitingMax = 1 } = limits;
  const pool = new SessionPool(
    open,
    { sessionsMax, waitingMax, acquireMs: 30, statementMs: 30, slowMs: 30 },
    systemClock,
  );
  return { pool, sessions };
}

describe("session pool", () => {
  test("reuses sessions and opens no more than allowed", async () => {
    const { pool, sessions } = poolOf();
    const first = await pool.acquireConnection();
    const second = await pool.acquireConnection();
    const third = pool.acquireConnection();
    await pool.releaseConnection(first);
    assert.equal(await third, first);
    await pool.releaseConnection(second);
    assert.equal(await pool.acquireConnection(), second);
    assert.equal(sessions.length, 2);
  });

  test("gives up waiting for a session, and lets no more wait than allowed", async () => {
    const { pool } = poolOf({ sessionsMax: 1 });
    const only = await pool.acquireConnection();
    const waiting = pool.acquireConnection();
    await assert.rejects(pool.acquireConnection(), /too many/);
    await assert.rejects(waiting, /no database connection within 30 ms/);
    await pool.releaseConnection(only);
    assert.equal(await pool.acquireConnection(), only);
  });

  test("does not hand out a session that died", async () => {
    const { pool, sessions } = poolOf({ sessionsMax: 1 });
    const first = await pool.acquireConnection();
    await pool.releaseConnection(first);
    assert.ok(sessions[0] !== undefined);
    sessions[0].broken = true;
    assert.notEqual(await pool.acquireConnection(), first);
    assert.equal(sessions[0].closed, true);
  });

  test("replaces a session that died in use for whoever waits", async () => {
    const { pool, sessions } = poolOf({ sessionsMax: 1 });
    const first = await pool.acquireConnection();
    const waiting = pool.acquireConnection();
    assert.ok(sessions[0] !== undefined);
    sessions[0].broken = true;
    await pool.releaseConnection(first);
    assert.notEqual(await waiting, first);
    assert.equal(sessions.length, 2);
  });

  test("passes on that connecting failed, and works again afterwards", async () => {
    let down = true;
    const { pool } = poolOf({ fails: () => down });
    await assert.rejects(pool.acquireConnection(), ConnectionLostError);
    down = false;
    await pool.acquireConnection();
  });

  test("closes a session that does not answer in time", async () => {
    const { pool, sessions } = poolOf();
    const connection = await pool.acquireConnection();
    assert.ok(sessions[0] !== undefined);
    sessions[0].answer = new Promise(() => {});
    await assert.rejects(connection.executeQuery(CompiledQuery.raw("select 1")), /no answer within 30 ms/);
    assert.equal(sessions[0].closed, true);
    await assert.rejects(connection.executeQuery(CompiledQuery.raw("rollback")), /closed/);
  });

  test("closing refuses those that wait and closes what is idle and what is given back", async () => {
    const { pool, sessions } = poolOf({ sessionsMax: 1 });
    const only = await pool.acquireConnection();
    const waiting = assert.rejects(pool.acquireConnection(), /closed/);
    const closing = pool.destroy();
    await waiting;
    await pool.releaseConnection(only);
    await closing;
    assert.equal(sessions[0]?.closed, true);
    await assert.rejects(pool.acquireConnection(), /closed/);
  });
});
