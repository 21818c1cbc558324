/** `gitmesh up`: starting, stopping, starting again, and the sentences when it cannot. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import { join } from "node:path";
import { after, test } from "node:test";
import { startCluster } from "../support/cluster.ts";
import { freePorts } from "../support/ports.ts";
import { isRunning } from "../support/processes.ts";
import { assertReplicas } from "../support/replicas.ts";
import { gitmesh } from "../support/servers.ts";
import { temporaryDirectory } from "../support/temp.ts";
import { Terminal } from "../support/terminal.ts";
import { waitFor } from "../support/wait.ts";

const temporary = temporaryDirectory();
after(() => temporary.remove());

const servers = ["controller-1", "node-1", "node-2", "node-3", "console"];

/** Runs `gitmesh up`, which is to end at once with status 1 and one sentence. Gives the sentence. */
async function refused(terminal: Terminal, args: string): Promise<string> {
  const { code, stdout, stderr } = await terminal
    .with({ GITMESH: gitmesh })
    .run(`$GITMESH up ${args}`, { limitMs: 30_000 });
  assert.equal(code, 1, stdout + stderr);
  const lines = stderr.trim().split("\n");
  assert.equal(lines.length, 1, `one sentence, not: ${stderr}`);
  assert.ok(!/\bat .*:\d+:\d+|Error:/.test(stderr), stderr);
  return stderr;
}

test("each server is a process with a pid file and a log; the secret is its owner's alone", async () => {
  const cluster = await startCluster();
  try {
    for (const server of servers) {
      assert.ok(isRunning(cluster.pid(server)), server);
      assert.ok(existsSync(join(cluster.dataDirectory, "log", `${server}.log`)), server);
    }
    assert.equal(new Set(servers.map((server) => cluster.pid(server))).size, servers.length);
    const secret = join(cluster.dataDirectory, "secret");
    assert.equal(statSync(secret).mode & 0o777, 0o600);
    assert.ok(readFileSync(secret, "utf8").trim().length >= 16);
    await waitFor(() => /Ready[\s\S]*curl -XPOST/.test(cluster.servers.output()), {
      what: "the first thing to type to be told",
    });
    for (const server of servers) {
      const pid = cluster.pid(server);
      process.kill(pid, "SIGKILL");
      await waitFor(() => cluster.pid(server) !== pid && isRunning(cluster.pid(server)), {
        what: `${server} to be started again`,
      });
    }
    await cluster.waitServing();
    await waitFor(async () => (await fetch(cluster.consoleUrl)).ok, { what: "the console to serve again" });
  } finally {
    await cluster.stop();
  }
});

test("SIGTERM stops all; a second start goes on where it was", async () => {
  const cluster = await startCluster();
  try {
    const terminal = cluster.terminal();
    await cluster.create("kept");
    await terminal.ok(
      "git init -q w && cd w && git commit -q --allow-empty -m kept && git push -q $GIT/kept.git master",
    );
    const before = await cluster.show("kept");
    const nodes = (await cluster.nodes()).map(({ id, url }) => `${id} ${url}`).toSorted();
    const secret = readFileSync(join(cluster.dataDirectory, "secret"), "utf8");
    const pids = servers.map((server) => cluster.pid(server));
    await cluster.servers.stop();
    assert.ok(!pids.some((pid) => isRunning(pid)));
    cluster.servers.start();
    await cluster.waitServing();
    assert.equal((await cluster.show("kept")).id, before.id);
    assert.deepEqual((await cluster.nodes()).map(({ id, url }) => `${id} ${url}`).toSorted(), nodes);
    assert.equal(readFileSync(join(cluster.dataDirectory, "secret"), "utf8"), secret);
    await terminal.ok(
      "git clone -q $GIT/kept.git again && cd again && git commit -q --allow-empty -m more && git push -q",
    );
    await assertReplicas(cluster, "kept");
  } finally {
    await cluster.stop();
  }
});

test("when `gitmesh up` itself is killed its servers stop, and the next start goes on", async () => {
  const cluster = await startCluster();
  try {
    const pids = servers.map((server) => cluster.pid(server));
    await cluster.servers.killSupervisor();
    cluster.servers.start();
    await waitFor(() => !pids.some((pid) => isRunning(pid)), { what: "the servers of the first start to stop" });
    await cluster.waitServing();
    await cluster.create("after");
  } finally {
    await cluster.stop();
  }
});

test("a second `gitmesh up` on the same data is refused", async () => {
  const cluster = await startCluster({ nodes: 1 });
  try {
    const port = await freePorts(6);
    assert.match(
      await refused(cluster.terminal(), `--data '${cluster.dataDirectory}' --port-base ${port} --nodes 1`),
      /runs already/,
    );
    assert.equal((await cluster.nodes()).length, 1);
  } finally {
    await cluster.stop();
  }
});

test("a port in use: one sentence that names it, status 1, and nothing is left running", async () => {
  const terminal = new Terminal(join(temporary.path, "port"));
  const port = await freePorts(6);
  const server = createServer().listen(port + 2, "127.0.0.1");
  await once(server, "listening");
  try {
    assert.match(await refused(terminal, `--data data --port-base ${port}`), new RegExp(`${port + 2}.*in use`));
  } finally {
    server.close();
  }
});

test("a directory that cannot be written: one sentence, status 1", async () => {
  const terminal = new Terminal(join(temporary.path, "unwritable"));
  writeFileSync(join(terminal.directory, "file"), "");
  const port = await freePorts(6);
  assert.match(await refused(terminal, `--data file/data --port-base ${port}`), /file\/data.*cannot be written/);
  assert.match(await refused(terminal, `--data /sys/gitmesh --port-base ${port}`), /\/sys\/gitmesh.*cannot be written/);
});

test("no git, and one that is too old: one sentence, status 1", async () => {
  const terminal = new Terminal(join(temporary.path, "git"));
  const programs = join(terminal.directory, "bin");
  mkdirSync(programs);
  const node = process.execPath;
  for (const program of ["sh", "bash", "readlink", "dirname", "env"]) {
    symlinkSync((await terminal.ok(`command -v ${program}`)).trim(), join(programs, program));
  }
  symlinkSync(node, join(programs, "node"));
  const bare = terminal.with({ PATH: programs });
  const args = `--data data --port-base ${await freePorts(6)}`;
  assert.match(await refused(bare, args), /git/);
  writeFileSync(join(programs, "git"), "#!/bin/sh\necho git version 2.30.2\n", { mode: 0o755 });
  assert.match(await refused(bare, args), /2\.30\.2.*2\.39|2\.39.*2\.30\.2/);
});

test("mistakes in flags are told all at once", async () => {
  const terminal = new Terminal(join(temporary.path, "flags")).with({ GITMESH: gitmesh });
  const { code, stderr } = await terminal.run("$GITMESH up --nodes zero --controllers 0 --port-base 99999999");
  assert.equal(code, 1);
  for (const flag of ["--nodes", "--controllers", "--port-base"]) assert.ok(stderr.includes(flag), stderr);
  assert.match((await terminal.run("$GITMESH up --replicas 4 --nodes 3")).stderr, /--replicas/);
  assert.match((await terminal.run("$GITMESH up --controllers 2")).stderr, /--database/);
  assert.notEqual((await terminal.run("$GITMESH up --colour")).code, 0);
});
