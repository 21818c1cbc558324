import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { request } from "undici";
import { v7 as uuid } from "uuid";
import { systemClock } from "../base/clock.ts";
import { createLogger } from "../base/log.ts";
import { nodeSettingsSchema } from "../base/settings.ts";
import { startNode, type RunningServer } from "./server.ts";
import { until } from "./testing/node-api-client.ts";

const secret = "a secret of the test";
const directory = mkdtempSync(join(tmpdir(), "gitmesh-node-"));
const source = join(directory, "source");
const registrations: { inventory: { repositoryId: string; generation: number }[] }[] = [];
let deletedRepositoryIds: string[] = [];
let controller: Server;
let node: RunningServer;
let other: RunningServer;

function git(cwd: string, args: string[], input?: string | Buffer): Buffer {
  return execFileSync("git", ["-c", "user.name=T", "-c", "user.email=t@localhost", ...args], {
    cwd,
    input,
    stdio: ["pipe", "pipe", "ignore"],
    maxBuffer: 1e9,
  });
}

function text(cwd: string, ...args: string[]): string {
  return git(cwd, args).toString().trim();
}

function commit(name: string, content = name): string {
  writeFileSync(join(source, name), content);
  git(source, ["add", name]);
  git(source, ["commit", "-q", "-m", name]);
  return text(source, "rev-parse", "HEAD");
}

function packOf(revisions: string): Buffer {
  return git(source, ["pack-objects", "--stdout", "--revs", "--thin", "-q"], revisions);
}

async function start(name: string): Promise<RunningServer> {
  const settings = nodeSettingsSchema.parse({
    secret,
    listen: "127.0.0.1:0",
    controllers: `http://127.0.0.1:${(controller.address() as AddressInfo).port}`,
    directory: join(directory, name),
    heartbeatIntervalMs: 50,
    logLevel: "silent",
  });
  return startNode(settings, { log: createLogger(name, "silent"), clock: systemClock, onForeignDisk: () => {} });
}

async function call(
  method: "GET" | "POST" | "PATCH",
  path: string,
  body?: unknown,
  server: RunningServer = node,
): Promise<{ status: number; body: Record<string, unknown> }> {
  const answer = await request(`${server.url}/node/v1/replicas${path}`, {
    method,
    headers: {
      authorization: `Bearer ${secret}`,
      ...(body === undefined ? {} : { "content-type": "application/json" }),
    },
    body: body === undefined ? null : JSON.stringify(body),
  });
  const answered = await answer.body.text();
  return { status: answer.statusCode, body: answered === "" ? {} : (JSON.parse(answered) as Record<string, unknown>) };
}

async function long(
  path: string,
  body: Buffer | string,
  server: RunningServer = node,
): Promise<Record<string, unknown>> {
  const answer = await request(`${server.url}/node/v1/replicas${path}`, {
    method: "POST",
    headers: { authorization: `Bearer ${secret}`, "content-type": "application/octet-stream" },
    body,
  });
  assert.equal(answer.statusCode, 200);
  const lines = (await answer.body.text()).trim().split("\n");
  return (JSON.parse(lines.at(-1) ?? "") as { result: Record<string, unknown> }).result;
}

function stage(id: string, pack: Buffer, ...oids: string[]): Promise<Record<string, unknown>> {
  const tips = oids.map((oid, index) => ({ name: `refs/heads/b${index}`, oid }));
  const header = { pushId: "p", tips, packBytesMax: 1e9 };
  return long(`/${id}/_stage`, Buffer.concat([Buffer.from(`${JSON.stringify(header)}\n`), pack]));
}

function describe(id: string, objectFormat = "sha1"): Record<string, unknown> {
  return { id, name: "team/test", objectFormat, defaultBranch: "refs/heads/master", description: "for tests" };
}

async function create(): Promise<string> {
  const id = uuid();
  assert.equal((await call("POST", "", describe(id))).status, 201);
  return id;
}

function replica(id: string, name = "n1"): string {
  return join(directory, name, "replicas", id.slice(-2), `${id}.git`);
}

function refs(id: string, name = "n1"): string {
  return text(replica(id, name), "for-each-ref", "--format=%(refname) %(objectname)");
}

function leftovers(id: string): string[] {
  const objects = join(replica(id), "objects");
  return [...readdirSync(objects), ...readdirSync(join(objects, "pack"))].filter((name) => name.startsWith("tmp_"));
}

before(async () => {
  mkdirSync(source);
  git(source, ["init", "-q", "-b", "master"]);
  controller = createServer((incoming, response) => {
    void (async () => {
      let body = "";
      for await (const chunk of incoming) body += String(chunk);
      const registers = incoming.url?.endsWith("/register") === true;
      if (registers) registrations.push(JSON.parse(body));
      response.end(JSON.stringify(registers ? { deletedRepositoryIds, orphanRepositoryIds: [] } : { register: false }));
    })();
  });
  controller.listen(0, "127.0.0.1");
  await once(controller, "listening");
  node = await start("n1");
  other = await start("n2");
});

after(async () => {
  await node.close();
  await other.close();
  controller.closeAllConnections();
  controller.close();
  rmSync(directory, { recursive: true, force: true });
});

test("a new replica is a bare repository that plain git reads", async () => {
  const id = await create();
  assert.equal(text(replica(id), "rev-parse", "--is-bare-repository"), "true");
  assert.equal(text(replica(id), "symbolic-ref", "HEAD"), "refs/heads/master");
  assert.match(readFileSync(join(replica(id), "description"), "utf8"), /team\/test: for tests/);
  assert.equal(text(replica(id), "config", "gitmesh.name"), "team/test");
  assert.equal((await call("POST", "", describe(id))).status, 201);
  const { uses, ...status } = (await call("GET", `/${id}`)).body as { readonly uses?: string };
  assert.deepEqual(status, { id, generation: 0, sizeBytes: 0 });
  assert.ok(uses !== undefined && uses !== "", "moving aside tells by it whether the copy was used since");
});

test("stage, apply, fetch", async () => {
  const id = await create();
  const first = commit("one");
  assert.deepEqual(await stage(id, packOf(first), first), {
    kind: "staged",
    tips: [{ type: "commit" }],
    packBytes: packOf(first).length,
    generation: 0,
  });
  assert.equal(refs(id), "");
  const applied = await call("POST", `/${id}/_apply`, {
    base: 0,
    generation: 1,
    updates: [["refs/heads/master", first]],
  });
  assert.deepEqual(applied, { status: 200, body: { generation: 1 } });
  assert.equal(refs(id), `refs/heads/master ${first}`);
  const second = commit("two");
  assert.equal((await stage(id, packOf(`${second}\n^${first}`), second))["kind"], "staged");
  await call("POST", `/${id}/_apply`, { base: 1, generation: 2, updates: [["refs/heads/master", second]] });
  const clone = join(directory, `clone-${id}`);
  const config = `http.extraHeader=Authorization: Bearer ${secret}`;
  for (const version of ["0", "2"]) {
    const args = [
      "-c",
      config,
      "-c",
      `protocol.version=${version}`,
      "clone",
      "-q",
      `${node.url}/node/v1/replicas/${id}/git`,
      clone,
    ];
    await promisify(execFile)("git", args, { cwd: directory });
    assert.equal(text(clone, "rev-parse", "HEAD"), second);
    rmSync(clone, { recursive: true });
  }
  git(replica(id), ["fsck", "--full"]);
  assert.deepEqual(leftovers(id), []);
});

test("applying keeps the order, tells of a gap, and takes directories for refs and back", async () => {
  const id = await create();
  const oid = commit("order");
  await stage(id, packOf(oid), oid);
  const apply = (base: number, generation: number, updates: [string, string | null][]) =>
    call("POST", `/${id}/_apply`, { base, generation, updates });
  const gap = await apply(1, 2, [["refs/heads/x", oid]]);
  assert.equal(gap.status, 409);
  assert.equal(gap.body["code"], "generation-gap");
  assert.equal(gap.body["generation"], 0);
  assert.equal((await apply(0, 1, [["refs/heads/x", oid]])).body["generation"], 1);
  assert.equal((await apply(0, 1, [["refs/heads/other", oid]])).body["generation"], 1);
  assert.equal(refs(id), `refs/heads/x ${oid}`);
  const deeper = await apply(1, 2, [
    ["refs/heads/x/y", oid],
    ["refs/heads/x", null],
    ["refs/heads/gone", null],
  ]);
  assert.deepEqual(deeper, { status: 200, body: { generation: 2 } });
  assert.equal(refs(id), `refs/heads/x/y ${oid}`);
  const back = await apply(2, 5, [
    ["refs/heads/x/y", null],
    ["refs/heads/x", oid],
  ]);
  assert.deepEqual(back, { status: 200, body: { generation: 5 } });
  assert.equal(refs(id), `refs/heads/x ${oid}`);
  const many: [string, string][] = Array.from({ length: 500 }, (_value, index) => [`refs/tags/t${index}`, oid]);
  assert.equal((await apply(5, 6, many)).status, 200);
  assert.equal(refs(id).split("\n").length, 501);
});

test("catch-up fills an empty replica and brings one that is behind to exactly the refs", async () => {
  const id = await create();
  const first = commit("catch");
  const second = commit("up");
  await stage(id, packOf(second), second);
  await call("POST", `/${id}/_apply`, {
    base: 0,
    generation: 1,
    updates: [
      ["refs/heads/a", second],
      ["refs/heads/old", first],
    ],
  });
  const catchUp = (generation: number, list: [string, string][]): Promise<Record<string, unknown>> => {
    const header = { replica: describe(id), generation, sourceUrl: `${node.url}/node/v1/replicas/${id}/git` };
    const lines = [header, ...list].map((line) => `${JSON.stringify(line)}\n`).join("");
    return long(`/${id}/_catch-up`, lines, other);
  };
  assert.deepEqual(
    await catchUp(1, [
      ["refs/heads/a", second],
      ["refs/heads/old", first],
    ]),
    { kind: "caught-up", generation: 1 },
  );
  assert.equal(refs(id, "n2"), refs(id));
  git(replica(id, "n2"), ["fsck", "--full"]);
  const third = commit("third");
  await stage(id, packOf(`${third}\n^${second}`), third);
  // A ref becomes a directory, one goes, and a loose ref is broken on the disk.
  writeFileSync(join(replica(id, "n2"), "refs", "heads", "broken"), "nonsense\n");
  assert.deepEqual(await catchUp(4, [["refs/heads/a/b", third]]), { kind: "caught-up", generation: 4 });
  assert.equal(refs(id, "n2"), `refs/heads/a/b ${third}`);
  assert.deepEqual(await catchUp(3, [["refs/heads/z", first]]), { kind: "caught-up", generation: 4 });
  const alone = (generation: number, oid: string): Promise<Record<string, unknown>> =>
    long(
      `/${id}/_catch-up`,
      [{ replica: describe(id), generation, sourceUrl: null }, ["refs/heads/a/b", oid]]
        .map((line) => `${JSON.stringify(line)}\n`)
        .join(""),
      other,
    );
  assert.deepEqual(await alone(5, third), { kind: "caught-up", generation: 5 });
  assert.equal((await alone(6, "4".repeat(40)))["kind"], "node-failed");
  const failing = await catchUp(9, [["refs/heads/z", "3".repeat(40)]]);
  assert.equal(failing["kind"], "node-failed");
  assert.equal(refs(id, "n2"), `refs/heads/a/b ${third}`);
});

test("retiring moves aside; what a person deleted is moved aside at the registration", async () => {
  const id = await create();
  assert.equal((await call("POST", `/${id}/_retire`, { reason: "surplus" })).status, 204);
  assert.equal((await call("GET", `/${id}`)).status, 404);
  assert.equal((await call("POST", `/${id}/_retire`, { reason: "surplus" })).status, 204);
  assert.ok(
    readdirSync(join(directory, "n1", "aside")).some(
      (name) => name.startsWith(`${id}.`) && name.endsWith(".surplus.git"),
    ),
  );
  const deleted = await create();
  deletedRepositoryIds = [deleted];
  await node.close();
  node = await start("n1");
  await until("it is ready", async () => (await request(`${node.url}/readyz`)).statusCode === 200);
  assert.equal((await call("GET", `/${deleted}`)).status, 404);
  assert.ok(registrations.at(-1)?.inventory.some(({ repositoryId }) => repositoryId === deleted));
});

test("a replica that is taken away under the server is not there, and can be made again", async () => {
  const id = await create();
  assert.equal((await call("GET", `/${id}`)).status, 200);
  rmSync(replica(id), { recursive: true });
  assert.equal((await call("GET", `/${id}`)).body["code"], "replica-not-found");
  assert.equal((await call("POST", "", describe(id))).status, 201);
  assert.equal((await call("GET", `/${id}`)).body["generation"], 0);
});

test("the directory's lock names the server and the process that forks git for it", () => {
  const lock = JSON.parse(readFileSync(join(directory, "n1", "lock.json"), "utf8")) as { processes: { pid: number }[] };
  assert.equal(lock.processes[0]?.pid, process.pid);
  assert.equal(lock.processes.length, 2);
});

test("nothing without the secret", async () => {
  const id = await create();
  for (const [method, path] of [
    ["GET", `/${id}`],
    ["POST", ""],
    ["PATCH", `/${id}`],
    ["POST", `/${id}/_retire`],
    ["POST", `/${id}/_stage`],
    ["POST", `/${id}/_apply`],
    ["POST", `/${id}/_catch-up`],
    ["POST", `/${id}/_fetch-tips`],
    ["GET", `/${id}/git/info/refs?service=git-upload-pack`],
    ["POST", `/${id}/git/git-upload-pack`],
  ] as const) {
    for (const authorization of [undefined, "Bearer wrong", `Basic ${secret}`]) {
      const answer = await request(`${node.url}/node/v1/replicas${path}`, {
        method,
        headers: authorization === undefined ? {} : { authorization },
      });
      assert.equal(answer.statusCode, 401, `${method} ${path}`);
      await answer.body.dump();
    }
  }
});
