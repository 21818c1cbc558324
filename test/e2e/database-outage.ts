/**
 * The database server stops, dies, hangs or is not there at the start: what clients are told meanwhile, and that all
 * comes back by itself. A file for each engine runs these tests.
 *
 * controller-1 has the settings as they come; controller-2 has `staleReads`.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { callApi, type Problem } from "../support/api.ts";
import { startServers, type Cluster } from "../support/cluster.ts";
import { availableEngines, startDatabase, type ServerEngine, type TestDatabase } from "../support/databases.ts";
import { assertReplicas } from "../support/replicas.ts";
import { needs } from "../support/requirement.ts";
import type { Separate } from "../support/servers.ts";
import type { Terminal } from "../support/terminal.ts";
import { waitFor, within } from "../support/wait.ts";

const nodeTimeoutMs = 3000;
const settings = {
  GITMESH_STORE_TIMEOUT_MS: "3000",
  GITMESH_NODE_TIMEOUT_MS: String(nodeTimeoutMs),
  GITMESH_HEARTBEAT_INTERVAL_MS: "500",
  GITMESH_LEASE_MS: "1500",
  GITMESH_REPAIR_INTERVAL_MS: "300",
};
/** Far below what a client waits by itself, far above what a busy machine needs. */
const answerLimitMs = 15_000;

interface Fault {
  readonly name: string;
  strike(database: TestDatabase): Promise<void> | void;
  heal(database: TestDatabase): Promise<void> | void;
}

const faults: readonly Fault[] = [
  { name: "is stopped", strike: (database) => database.shutDown(), heal: (database) => database.restart() },
  { name: "is killed", strike: (database) => database.crash(), heal: (database) => database.restart() },
  { name: "hangs", strike: (database) => database.pause(), heal: (database) => database.resume() },
];

export function testDatabaseOutage(engine: ServerEngine, name: string): void {
  const { skip } = needs(name, availableEngines().includes(engine));
  if (skip !== undefined) {
    test(`${name} fails`, { skip });
    return;
  }
  let database: TestDatabase;
  let cluster: Cluster<Separate>;
  let stop = async (): Promise<void> => {};
  before(async () => {
    database = await startDatabase(engine);
    stop = () => database.stop();
    cluster = await startServers({ controllers: 2, database: database.url, env: settings });
    stop = async () => {
      try {
        await cluster.stop();
      } finally {
        await database.stop();
      }
    };
    await cluster.kill("controller-2");
    cluster.servers.start("controller-2", { GITMESH_STALE_READS: "true" });
    await cluster.waitServing();
  });
  after(() => stop());

  /** `$ONE` and `$STALE` are the repository's clone URLs; both controllers have read it. */
  async function workingCopy(repository: string): Promise<Terminal> {
    await cluster.create(repository);
    const terminal = cluster.terminal().with({ ONE: cluster.repo(repository, 1), STALE: cluster.repo(repository, 2) });
    await terminal.ok(`
      git init -q work && cd work && git commit -q --allow-empty -m first && git tag -a -m one v1
      git push -q $ONE master v1
      git ls-remote $ONE && git ls-remote $STALE
    `);
    return terminal.in("work");
  }

  for (const fault of faults) {
    test(`${name} ${fault.name}: writes and reads get 503 and a sentence, stale reads go on, all comes back`, async () => {
      const repository = `fault/${fault.name.replace(" ", "-")}`;
      const work = await workingCopy(repository);
      const commits = [await work.ok("git rev-parse HEAD")];
      const linesBefore = logLines(cluster);
      await fault.strike(database);
      try {
        const struckMs = performance.now();
        await assertRefused(cluster, repository, work);
        await assertStaleReads(cluster, repository, work);
        // Longer than a node may be silent: nobody is to blame for that time.
        await waitFor(() => performance.now() - struckMs > 1.5 * nodeTimeoutMs, { what: "a long outage" });
        assert.deepEqual(cluster.servers.ended(), [], "nothing crashes");
      } finally {
        await fault.heal(database);
      }
      for (const url of ["$ONE", "$STALE"]) {
        await waitFor(
          async () => (await work.run(`git commit -q --allow-empty -m again && git push -q ${url} HEAD`)).code === 0,
          {
            what: `pushes to ${url} to go on`,
          },
        );
        commits.push(await work.ok("git rev-parse HEAD"));
      }
      await cluster.waitServing();
      await assertReplicas(cluster, repository, { commits });
      for (const controller of [1, 2]) {
        assert.equal((await callApi(`${cluster.controllerUrl(controller)}/readyz`, "GET")).status, 200);
        const view = await cluster.show(repository, controller);
        assert.deepEqual(
          view.nodes.map(({ status }) => status),
          ["READY", "READY", "READY"],
        );
      }
      assertQuiet(cluster, linesBefore);
    });
  }

  test(`${name} is not there when a controller starts: it answers 503, and serves once it is`, async () => {
    const work = await workingCopy("start");
    await database.shutDown();
    await cluster.kill("controller-1");
    cluster.servers.start("controller-1");
    await waitFor(async () => (await callApi(`${cluster.url}/healthz`, "GET")).status === 200, {
      what: "/healthz",
      limitMs: 90_000,
    });
    assert.equal((await callApi(`${cluster.url}/readyz`, "GET")).status, 503);
    const refused = await refsFor("git-receive-pack", cluster.repo("start"));
    assert.equal(refused.status, 503);
    assert.match(await work.fails("git push $ONE HEAD:refs/heads/new"), /remote: the metadata store is not ready yet/);
    await database.restart();
    await cluster.waitServing();
    await work.ok("git push -q $ONE HEAD:refs/heads/new");
    await assertReplicas(cluster, "start");
    const log = cluster.log("controller-1");
    // Once more at most: when it answers, and is not ready.
    assert.ok(log.split("waiting for the metadata store").length - 1 <= 2, "not told each time");
    assert.doesNotMatch(log, /repository server is dead/);
  });
}

function refsFor(service: string, url: string): Promise<Response> {
  return within(answerLimitMs, `info/refs of ${service}`, fetch(`${url}/info/refs?service=${service}`));
}

/** Through controller-1: everything that needs the store, within a bounded time. */
async function assertRefused(cluster: Cluster, repository: string, work: Terminal): Promise<void> {
  for (const service of ["git-receive-pack", "git-upload-pack"]) {
    const answer = await refsFor(service, cluster.repo(repository));
    assert.equal(answer.status, 503, service);
    assert.ok(Number(answer.headers.get("retry-after")) > 0);
    assert.match(answer.headers.get("content-type") ?? "", /^text\/plain/);
    assert.match(await answer.text(), /^the metadata store does not answer; try again shortly\n$/);
  }
  const limits = { limitMs: answerLimitMs };
  const refused = await work.fails("git commit -q --allow-empty -m refused && git push $ONE HEAD", limits);
  assert.match(refused, /remote: the metadata store does not answer; try again shortly/);
  assert.match(await work.fails("git push $STALE HEAD", limits), /remote: the metadata store does not answer/);
  assert.match(await work.fails("git clone $ONE ../refused", limits), /remote: the metadata store does not answer/);
  for (const [method, path] of [
    ["POST", "/api/repos/made-in-the-outage"],
    ["PATCH", `/api/repos/${repository}`],
    ["DELETE", `/api/repos/${repository}`],
    ["GET", `/api/repos/${repository}`],
    ["GET", "/readyz"],
  ] as const) {
    const body = method === "PATCH" ? { description: "changed" } : undefined;
    const answer = await within(answerLimitMs, `${method} ${path}`, callApi(cluster.url + path, method, body));
    assert.equal(answer.status, 503, `${method} ${path}`);
    assert.ok(Number(answer.headers.get("retry-after")) > 0);
    assert.match(answer.headers.get("content-type") ?? "", /^application\/problem\+json/);
    assert.equal((answer.body as Problem).code, "store-unavailable");
  }
  assert.equal((await callApi(`${cluster.url}/healthz`, "GET")).status, 200);
}

/** Through controller-2: what was there before. */
async function assertStaleReads(cluster: Cluster, repository: string, work: Terminal): Promise<void> {
  const answer = await refsFor("git-upload-pack", cluster.repo(repository, 2));
  assert.equal(answer.status, 200);
  assert.match(answer.headers.get("x-gitmesh-stale") ?? "", /does not answer/);
  for (const version of [0, 1, 2]) {
    await work.ok(`git -c protocol.version=${version} clone -q $STALE ../stale-${version}`, { limitMs: answerLimitMs });
    assert.equal(
      await work.ok(`git -C ../stale-${version} rev-parse HEAD v1`),
      await work.ok("git rev-parse HEAD^ v1"),
    );
  }
  // What this controller has not read, it cannot answer from memory.
  assert.equal((await refsFor("git-upload-pack", cluster.repo("never/read", 2))).status, 503);
}

function logLines(cluster: Cluster): ReadonlyMap<string, number> {
  const names = ["controller-1", "controller-2", ...cluster.nodeNames()];
  return new Map(names.map((name) => [name, cluster.log(name).split("\n").length]));
}

/** A line for a change of state, not for each try; and nobody was taken for dead. */
function assertQuiet(cluster: Cluster, before: ReadonlyMap<string, number>): void {
  for (const [name, lines] of before) {
    const since = cluster
      .log(name)
      .split("\n")
      .slice(lines - 1);
    const text = since.join("\n");
    assert.ok(since.length < 20, `${name} is not quiet:\n${text}`);
    assert.doesNotMatch(text, /repository server is dead|replicas missed a push|a bug/, name);
    if (!name.startsWith("controller")) continue;
    assert.equal(text.split("the metadata store does not answer; requests").length - 1, 1, `${name}:\n${text}`);
    assert.equal(text.split("the metadata store answers again").length - 1, 1, `${name}:\n${text}`);
  }
}
