import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { systemClock } from "../base/clock.ts";
import { searchPath } from "../base/search-path.ts";
import { nodePaths } from "../protocol/node-api.ts";
import { NodeApiClient, testSecret, until } from "./testing/node-api-client.ts";
import { git } from "./testing/source-repository.ts";
import { TestNodes } from "./testing/test-node.ts";

const main = fileURLToPath(new URL("../main.ts", import.meta.url));
const nodes = new TestNodes();
const directory = join(nodes.directory, "killed");
const started: ChildProcess[] = [];

before(() => nodes.start("other"));

after(async () => {
  for (const child of started) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill("SIGTERM");
    await once(child, "exit");
  }
  await nodes.close();
});

async function startProcess(): Promise<{ child: ChildProcess; client: NodeApiClient }> {
  const flags = ["--listen", "127.0.0.1:0", "--controllers", nodes.controller.url, "--directory", directory];
  const child = spawn(process.execPath, [main, "node", ...flags], {
    env: { PATH: searchPath, GITMESH_SECRET: testSecret },
    stdio: ["ignore", "pipe", "inherit"],
  });
  started.push(child);
  assert.ok(child.stdout !== null);
  for await (const line of createInterface(child.stdout)) {
    const { url } = JSON.parse(line) as { url?: string };
    if (url !== undefined) return { child, client: new NodeApiClient(url, directory) };
  }
  throw new Error("the server did not start");
}

function processesOf(path: string): string[] {
  return readdirSync("/proc").filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readlinkSync(`/proc/${pid}/cwd`) === path;
    } catch {
      return false;
    }
  });
}

test("kill -9 of a server ends its gits and the process that forks them; the next one serves", async () => {
  const { child, client } = await startProcess();
  const id = await client.create();
  const source = nodes.source();
  const oid = source.commit("x", randomBytes(500_000));
  const pack = source.pack(oid);
  async function* half(): AsyncGenerator<Buffer> {
    yield client.stageHeader([oid]);
    yield pack.subarray(0, 250_000);
    await until("git works", () => processesOf(client.replica(id)).length > 0);
    child.kill("SIGKILL");
    await systemClock.sleep(10_000);
  }
  const lock = JSON.parse(readFileSync(join(directory, "lock.json"), "utf8")) as { processes: { pid: number }[] };
  const forker = lock.processes[1]?.pid ?? 0;
  const arguments_ = readFileSync(`/proc/${forker}/cmdline`, "utf8").split("\0");
  const call = client.send("POST", nodePaths.stage(id), Readable.from(half())).then((answer) => answer.body.text());
  await assert.rejects(call);
  await until("the server is gone", () => child.signalCode === "SIGKILL");
  await until("its gits are gone", () => processesOf(client.replica(id)).length === 0);
  await until("the process that forks is gone", () => !existsSync(`/proc/${forker}`));
  const socketDirectory = arguments_.find((argument) => dirname(argument) === tmpdir());
  assert.ok(socketDirectory !== undefined && !existsSync(socketDirectory));
  assert.ok(client.leftovers(id).length > 0);

  const again = await startProcess();
  assert.equal((await again.client.stage(id, pack, oid)).kind, "staged");
  assert.equal((await again.client.apply(id, 0, 1, [["refs/heads/x", oid]])).status, 200);
  assert.deepEqual(again.client.leftovers(id), []);
  git(again.client.replica(id), ["fsck", "--full"]);
  again.child.kill("SIGTERM");
  await once(again.child, "exit");
  assert.equal(again.child.exitCode, 0);
  assert.ok(!existsSync(join(directory, "lock.json")));
});

test("a second server on the same directory is refused with one sentence", async () => {
  const { client } = await startProcess();
  const second = spawn(
    process.execPath,
    [main, "node", "--directory", directory, "--controllers", nodes.controller.url],
    {
      env: { PATH: searchPath, GITMESH_SECRET: testSecret, GITMESH_LISTEN: "127.0.0.1:0" },
      stdio: ["ignore", "ignore", "pipe"],
    },
  );
  started.push(second);
  let said = "";
  second.stderr.on("data", (text: Buffer) => (said += text.toString()));
  await once(second, "close");
  assert.equal(second.exitCode, 1);
  assert.match(said, /is in use by process \d+\./);
  assert.equal((await client.json("GET", nodePaths.replica("01900000-0000-7000-8000-000000000000"))).status, 404);
});
