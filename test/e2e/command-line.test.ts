/** `gitmesh repo`, `gitmesh node` and `gitmesh config` as a person and as a script use them. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import type { NodeView, RepositoryView } from "../support/api.ts";
import { startCluster } from "../support/cluster.ts";
import { freePorts } from "../support/ports.ts";
import { gitmesh } from "../support/servers.ts";

const cluster = await startCluster();
after(() => cluster.stop());

async function ok(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await cluster.cli(...args);
  assert.equal(code, 0, `gitmesh ${args.join(" ")}\n${stdout}${stderr}`);
  return stdout;
}

async function json<T>(...args: string[]): Promise<T> {
  return JSON.parse(await ok(...args, "--json")) as T;
}

/** One sentence on standard error, nothing on standard output, and a status that a script sees. */
async function fails(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await cluster.cli(...args);
  assert.notEqual(code, 0, stdout);
  assert.equal(stdout, "");
  assert.ok(!/\n\s+at /.test(stderr), stderr);
  return stderr;
}

test("repo create, show, list, set, rename, delete", async () => {
  assert.match(await ok("repo", "create", "cli/one"), new RegExp(cluster.repo("cli/one")));
  const options = ["--replicas", "2", "--default-branch", "trunk", "--object-format", "sha256", "--description", "a b"];
  const made = await json<RepositoryView>("repo", "create", "cli/two", ...options);
  assert.deepEqual(
    [made.replicas, made.defaultBranch, made.objectFormat, made.description],
    [2, "trunk", "sha256", "a b"],
  );
  assert.deepEqual(await json("repo", "show", "cli/two"), (await cluster.api("GET", "/api/repos/cli/two")).body);
  assert.match(await ok("repo", "show", "cli/two"), /2 of 2 READY/);
  const listed = await json<RepositoryView[]>("repo", "list");
  assert.deepEqual(
    listed.map(({ name }) => name),
    ["cli/one", "cli/two"],
  );
  assert.match(await ok("repo", "list"), /cli\/one +3\/3/);
  await ok("repo", "set", "cli/one", "--deny-deletes", "true", "--description", "changed");
  const set = await json<RepositoryView & { denyDeletes: boolean }>("repo", "show", "cli/one");
  assert.deepEqual([set.denyDeletes, set.description], [true, "changed"]);
  await ok("repo", "rename", "cli/one", "cli/renamed");
  assert.equal((await cluster.show("cli/renamed")).name, "cli/renamed");
  await ok("repo", "delete", "cli/renamed", "--yes");
  assert.equal((await cluster.api("GET", "/api/repos/cli/renamed")).status, 404);
});

test("what fails says so in a sentence, with a status", async () => {
  assert.match(await fails("repo", "show", "nowhere"), /not found/i);
  assert.match(await fails("repo", "create", "../x"), /name/i);
  await ok("repo", "create", "cli/there");
  assert.match(await fails("repo", "create", "cli/there"), /exists/);
  assert.match(await fails("repo", "delete", "cli/there"), /--yes/);
  assert.equal((await cluster.show("cli/there")).name, "cli/there");
  assert.match(await fails("repo", "set", "cli/there"), /Nothing to set/);
  assert.match(await fails("node", "show", "nowhere:1"), /not found/i);
  const nobody = `127.0.0.1:${await freePorts(1)}`;
  assert.ok((await fails("repo", "list", "--url", `http://${nobody}`)).includes(nobody));
  await fails("frobnicate");
});

test("node list and show; a live one is not removed", async () => {
  const nodes = await json<NodeView[]>("node", "list");
  assert.equal(nodes.length, 3);
  const table = await ok("node", "list");
  for (const { url, id } of nodes) {
    assert.ok(table.includes(url) && table.includes("ALIVE"), table);
    assert.equal((await json<NodeView>("node", "show", id)).url, url);
  }
  assert.match(await fails("node", "remove", nodes[0]?.id ?? ""), /alive|holds/);
});

test("help has an example for every command", async () => {
  const commands = [
    "up",
    "controller",
    "node",
    "console",
    "repo create",
    "repo list",
    "repo show",
    "repo delete",
    "repo rename",
  ];
  for (const command of [...commands, "repo set", "node list", "node show", "node remove", "config check controller"]) {
    const help = await ok(...command.split(" "), "--help");
    assert.match(help, /Example/, command);
  }
  assert.match(await ok("--version"), /^\d+\.\d+\.\d+/);
});

test("config check reports every mistake at once; config show hides secrets", async () => {
  const terminal = cluster.terminal().with({
    GITMESH: gitmesh,
    GITMESH_SECRET: "the-secret-nobody-sees",
    GITMESH_DATABASE: "postgres://user:the-password@db/gitmesh",
  });
  assert.match(await terminal.ok("$GITMESH config check controller"), /well-formed/);
  const shown = await terminal.ok("$GITMESH config show controller && $GITMESH config show controller --json");
  assert.ok(!shown.includes("the-secret-nobody-sees") && !shown.includes("the-password"), shown);
  assert.ok(shown.includes("nodeTimeoutMs"));
  const wrong = terminal.with({ GITMESH_REPLICAS: "many", GITMESH_LISTEN: "nowhere", GITMESH_DISK_USAGE_MAX: "90" });
  const said = await wrong.fails("$GITMESH config check controller --node-timeout-ms soon");
  for (const name of ["GITMESH_REPLICAS", "GITMESH_LISTEN", "GITMESH_DISK_USAGE_MAX", "--node-timeout-ms"]) {
    assert.ok(said.includes(name), `${name} is not in: ${said}`);
  }
  // A server with such settings does not start, and says the same.
  assert.match(
    await wrong.fails("$GITMESH controller"),
    /GITMESH_REPLICAS[\s\S]*GITMESH_LISTEN|GITMESH_LISTEN[\s\S]*GITMESH_REPLICAS/,
  );
  assert.match(
    await terminal.with({ GITMESH_SECRET: "" }).fails("$GITMESH node --controllers http://127.0.0.1:1"),
    /SECRET/i,
  );
});

test("settings come from flags, then the environment, then a file", async () => {
  const terminal = cluster.terminal().with({ GITMESH: gitmesh, GITMESH_SECRET: "0123456789abcdef" });
  writeFileSync(
    join(terminal.directory, "gitmesh.json"),
    JSON.stringify({ replicas: 2, nodeTimeoutMs: 1234, applyMs: 1111 }),
  );
  const shown = await terminal
    .with({ GITMESH_NODE_TIMEOUT_MS: "2345", GITMESH_APPLY_MS: "2222" })
    .ok("$GITMESH config show controller --json --config gitmesh.json --apply-ms 3333");
  const settings = JSON.parse(shown) as Record<string, unknown>;
  assert.deepEqual([settings["replicas"], settings["nodeTimeoutMs"], settings["applyMs"]].map(Number), [2, 2345, 3333]);
});
