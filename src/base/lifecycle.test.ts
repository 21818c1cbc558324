/** The life of a server process, with real processes and signals. */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";

const program = join(import.meta.dirname, "testing/lifecycle-process.ts");

class Running {
  readonly child: ChildProcess;
  output = "";
  readonly #exited: Promise<unknown>;

  constructor(...args: string[]) {
    this.child = spawn(process.execPath, [program, ...args], { stdio: ["ignore", "pipe", "inherit", "ipc"] });
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => (this.output += text));
    // Not "close", which does not come after a disconnect from this side.
    this.#exited = Promise.all([once(this.child, "exit"), once(this.child.stdout ?? assert.fail(), "end")]);
  }

  async says(text: string): Promise<void> {
    while (!this.output.includes(text)) await once(this.child.stdout ?? assert.fail(), "data");
  }

  async status(): Promise<number | null> {
    await this.#exited;
    return this.child.exitCode;
  }
}

async function running(...args: string[]): Promise<Running> {
  const process = new Running(...args);
  await process.says("running");
  return process;
}

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  test(`${signal} closes and ends with status 0`, async () => {
    const process = await running("well");
    process.child.kill(signal);
    assert.equal(await process.status(), 0);
    assert.match(process.output, /closed/);
  });
}

test("a supervisor that is gone ends the server", async () => {
  const process = await running("well");
  process.child.disconnect();
  assert.equal(await process.status(), 0);
  assert.match(process.output, /closed/);
  assert.match(process.output, /the supervisor is gone/);
});

test("closing has a limit", async () => {
  const process = await running("stuck", "100");
  process.child.kill("SIGTERM");
  assert.equal(await process.status(), 0);
  assert.doesNotMatch(process.output, /closed/);
});

test("a second signal does not wait, but the same one twice at once is one", async () => {
  const process = await running("stuck");
  process.child.kill("SIGINT");
  await process.says("stopping");
  process.child.kill("SIGINT");
  const again = setInterval(() => process.child.kill("SIGINT"), 100);
  const firstMs = performance.now();
  assert.equal(await process.status(), 0);
  clearInterval(again);
  assert.ok(performance.now() - firstMs > 300, "the first half second counts as one signal");
});

test("what fails to close, or is a bug, ends with status 1 and is in the log", async () => {
  const failing = await running("failing");
  failing.child.kill("SIGTERM");
  assert.equal(await failing.status(), 1);
  assert.match(failing.output, /cannot close/);
  for (const behaviour of ["throwing", "rejecting"]) {
    const process = new Running(behaviour);
    assert.equal(await process.status(), 1);
    assert.match(process.output, /"level":60.*a bug/);
  }
  const failed = new Running("failed");
  assert.equal(await failed.status(), 1);
  assert.match(failed.output, /closed/);
  assert.match(failed.output, /the disk is gone/);
});
