/**
 * The connection to the database dies exactly at a COMMIT, before or after the database gets it: what was done is found
 * out before the client is told anything, and where that is not possible in time, the client is told so. A file for
 * each engine runs these tests, through a proxy between the controller and a real server.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import type { Problem } from "../support/api.ts";
import { startServers, type Cluster } from "../support/cluster.ts";
import { openDatabaseProxy, type Cut, type DatabaseProxy } from "../support/database-proxy.ts";
import { availableEngines, startDatabase, type ServerEngine } from "../support/databases.ts";
import { assertReplicas } from "../support/replicas.ts";
import { needs } from "../support/requirement.ts";
import type { Separate } from "../support/servers.ts";
import type { Terminal } from "../support/terminal.ts";
import { waitFor } from "../support/wait.ts";

const settings = {
  GITMESH_STORE_TIMEOUT_MS: "3000",
  GITMESH_HEARTBEAT_INTERVAL_MS: "500",
};

/** What the client was told. */
type Told = "done" | "unknown";

interface Change {
  readonly name: string;
  /** Recognises the transaction by what it sends. */
  readonly pattern: RegExp;
  /** Makes the change of repository `name`, which exists unless this creates it. */
  make(cluster: Cluster, name: string): Promise<Told>;
  /** Whether the change has been made. */
  made(cluster: Cluster, name: string): Promise<boolean>;
}

const changes: readonly Change[] = [
  {
    name: "a creation",
    pattern: /insert into .repositories. /i,
    make: (cluster, name) => rest(cluster, "POST", `/api/repos/${name}-new`, { description: "made once" }, 201),
    made: async (cluster, name) => (await cluster.api("GET", `/api/repos/${name}-new`)).status === 200,
  },
  {
    name: "a rename",
    pattern: /update .repositories. set .name. = /i,
    make: (cluster, name) => rest(cluster, "PATCH", `/api/repos/${name}`, { name: `${name}-renamed` }, 200),
    made: async (cluster, name) => (await cluster.api("GET", `/api/repos/${name}-renamed`)).status === 200,
  },
  {
    name: "a change of settings",
    pattern: /update .repositories. set .deny_deletes. = /i,
    make: (cluster, name) => rest(cluster, "PATCH", `/api/repos/${name}`, { denyDeletes: true }, 200),
    made: async (cluster, name) => {
      const answer = await cluster.api("GET", `/api/repos/${name}`);
      return (answer.body as { denyDeletes: boolean }).denyDeletes;
    },
  },
  {
    name: "a deletion",
    pattern: /insert into .tombstones. /i,
    make: (cluster, name) => rest(cluster, "DELETE", `/api/repos/${name}`, undefined, 204),
    made: async (cluster, name) => (await cluster.api("GET", `/api/repos/${name}`)).status === 404,
  },
];

async function rest(cluster: Cluster, method: string, path: string, body: unknown, status: number): Promise<Told> {
  const answer = await cluster.api(method, path, body);
  if (answer.status === status) return "done";
  assert.equal(answer.status, 503, `${method} ${path}: ${JSON.stringify(answer.body)}`);
  const problem = answer.body as Problem & { readonly outcome?: string };
  assert.equal(problem.outcome, "unknown", problem.detail);
  assert.match(problem.detail, /may have taken effect or not/);
  return "unknown";
}

/** "soon": the database is back while the outcome is asked for; "late": only after the client has its answer. */
export function testDatabaseCommit(engine: ServerEngine, engineName: string, back: "soon" | "late"): void {
  const { skip } = needs(engineName, availableEngines().includes(engine));
  if (skip !== undefined) {
    test(`${engineName}: COMMITs without an answer`, { skip });
    return;
  }
  let proxy: DatabaseProxy;
  let cluster: Cluster<Separate>;
  let stop = async (): Promise<void> => {};
  let repositories = 0;
  before(async () => {
    const database = await startDatabase(engine);
    stop = () => database.stop();
    proxy = await openDatabaseProxy(database.url);
    const env = { ...settings, GITMESH_COMMIT_RESOLVE_MS: back === "soon" ? "20000" : "2000" };
    cluster = await startServers({ database: proxy.url, env });
    stop = async () => {
      try {
        await cluster.stop();
      } finally {
        proxy.close();
        await database.stop();
      }
    };
  });
  after(() => stop());
  afterEach(async () => {
    proxy.heal();
    await cluster.waitServing();
  });

  async function made(): Promise<string> {
    repositories += 1;
    const name = `r${repositories}`;
    await cluster.create(name);
    return name;
  }

  /** What the client was told, with the database gone from the cut COMMIT on: until it was cut, or until the answer. */
  async function cutDuring<T>(cut: Cut, pattern: RegExp, make: () => Promise<T>): Promise<T> {
    const cuts = proxy.cuts;
    proxy.cutNext(cut, { pattern, down: true });
    const making = make();
    const cutNow = waitFor(() => proxy.cuts === cuts + 1, { what: "the COMMIT to be cut" });
    await (back === "soon" ? cutNow : Promise.all([cutNow, making]));
    proxy.heal();
    const told = await making;
    await cluster.waitServing();
    return told;
  }

  for (const cut of ["before", "after"] as const) {
    const whenCut = `${engineName}: the connection dies ${cut} the COMMIT arrives and the database is back ${back}`;

    test(`${whenCut}: a push`, async () => {
      const name = await made();
      const work = await firstPush(cluster, name);
      const old = await work.ok("git rev-parse HEAD");
      await work.ok("git commit -q --allow-empty -m cut");
      const push = () => work.run("git push --porcelain $REPO HEAD:master HEAD:refs/heads/topic");
      const { code, stdout, stderr } = await cutDuring(cut, /insert into .ref_log./i, push);
      const head = await work.ok("git rev-parse HEAD");
      const values = await work.ok("git ls-remote $REPO refs/heads/master refs/heads/topic | cut -f1 | sort -u");
      if (back === "soon") {
        assert.equal(code, 0, stdout + stderr);
        assert.equal(values, head);
        assert.equal((await cluster.show(name)).generation, 2, "committed once");
      } else {
        assert.notEqual(code, 0);
        assert.match(stdout, /stopped answering in the middle; fetch to see whether the push took effect/);
        assert.doesNotMatch(stdout, /nothing has changed/);
        assert.equal(values, cut === "after" ? head : old);
        await work.ok("git push -q -f $REPO HEAD:master HEAD:refs/heads/topic");
      }
      await assertReplicas(cluster, name, { commits: [head] });
    });

    for (const change of changes) {
      test(`${whenCut}: ${change.name}`, async () => {
        const name = await made();
        const told = await cutDuring(cut, change.pattern, () => change.make(cluster, name));
        assert.equal(told, back === "soon" ? "done" : "unknown");
        assert.equal(await change.made(cluster, name), back === "soon" || cut === "after");
      });
    }
  }
}

async function firstPush(cluster: Cluster, name: string): Promise<Terminal> {
  const terminal = cluster.terminal().with({ REPO: cluster.repo(name) });
  await terminal.ok("git init -q work && cd work && git commit -q --allow-empty -m first && git push -q $REPO master");
  return terminal.in("work");
}
