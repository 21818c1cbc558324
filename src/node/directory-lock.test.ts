import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { systemClock, type Clock } from "../base/clock.ts";
import { lockDirectory } from "./directory-lock.ts";

const directory = mkdtempSync(join(tmpdir(), "gitmesh-lock-"));
/** Waits are over at once, as far as the lock can tell. */
function hurriedClock(): Clock {
  let now = 0;
  return {
    ...systemClock,
    monotonicMs: () => now,
    sleep: (ms) => {
      now += ms;
      return Promise.resolve();
    },
  };
}

after(() => rmSync(directory, { recursive: true, force: true }));

test("of many at once one gets it; the next when it is given back", async () => {
  const attempts = await Promise.allSettled(
    Array.from({ length: 5 }, () => lockDirectory(directory, [process.pid], hurriedClock())),
  );
  const got = attempts.flatMap((attempt) => (attempt.status === "fulfilled" ? [attempt.value] : []));
  assert.equal(got.length, 1);
  await assert.rejects(lockDirectory(directory, [process.pid], hurriedClock()), /is in use by process \d+\.$/);
  await got[0]?.();
  const unlock = await lockDirectory(directory, [process.pid], hurriedClock());
  await unlock();
  assert.deepEqual(readdirSync(directory), []);
});

test("a dead one's lock is taken over, but not before the process that forks for it is gone", async () => {
  const child = spawn("sleep", ["1000"], { stdio: "ignore" });
  await once(child, "spawn");
  const pid = child.pid ?? 0;
  await (async () => {
    const unlock = await lockDirectory(directory, [pid], hurriedClock());
    const lock = JSON.parse(readFileSync(join(directory, "lock.json"), "utf8")) as { processes: unknown[] };
    await unlock();
    // As after kill -9 of the server alone.
    lock.processes.unshift({ pid: 999_999_999, started: "1" });
    writeFileSync(join(directory, "lock.json"), JSON.stringify(lock));
  })();
  await assert.rejects(lockDirectory(directory, [process.pid], hurriedClock()), new RegExp(`process ${pid}\\.$`));
  const waiting = lockDirectory(directory, [process.pid], systemClock);
  child.kill("SIGKILL");
  await (
    await waiting
  )();
});

test("a process id that is used again, and a damaged lock, keep nobody out", async () => {
  for (const content of [JSON.stringify({ processes: [{ pid: process.pid, started: "1" }] }), "{", ""]) {
    writeFileSync(join(directory, "lock.json"), content);
    await (
      await lockDirectory(directory, [process.pid], hurriedClock())
    )();
  }
});
