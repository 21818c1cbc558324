/** The tests of two equal controllers on one database server; a file for each engine runs them. */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { callApi } from "../support/api.ts";
import { startServers, type Cluster } from "../support/cluster.ts";
import { availableEngines, startDatabase, type ServerEngine, type TestDatabase } from "../support/databases.ts";
import { refsOfRemote, writeRandomFile } from "../support/git.ts";
import { assertReplicas, waitForQuarantine } from "../support/replicas.ts";
import { needs } from "../support/requirement.ts";
import type { Separate } from "../support/servers.ts";
import type { Terminal } from "../support/terminal.ts";
import { waitFor } from "../support/wait.ts";

const settings = { GITMESH_NODE_TIMEOUT_MS: "1500", GITMESH_LEASE_MS: "1500", GITMESH_REPAIR_INTERVAL_MS: "300" };

export function testTwoControllers(engine: ServerEngine, name: string): void {
  const { skip } = needs(name, availableEngines().includes(engine));
  if (skip !== undefined) {
    test(`two controllers on ${name}`, { skip });
    return;
  }
  let database: TestDatabase;
  let cluster: Cluster<Separate>;
  // What a failed start leaves behind.
  let stop = async (): Promise<void> => {};
  before(async () => {
    database = await startDatabase(engine);
    stop = () => database.stop();
    // Both at once on an empty database: the migrations of one must not disturb the other.
    cluster = await startServers({ controllers: 2, database: database.url, env: settings });
    stop = async () => {
      try {
        await cluster.stop();
      } finally {
        await database.stop();
      }
    };
  });
  after(() => stop());

  afterEach(() => cluster.heal());

  /** `$ONE` and `$TWO` are the repository's clone URLs; `work` has its first commit, which is pushed. */
  async function workingCopy(repository: string): Promise<Terminal> {
    await cluster.create(repository);
    const terminal = cluster.terminal().with({ ONE: cluster.repo(repository, 1), TWO: cluster.repo(repository, 2) });
    await terminal.ok("git init -q work && cd work && git commit -q --allow-empty -m first && git push -q $ONE master");
    return terminal.in("work");
  }

  test(`${name}: the store says what it is`, async () => {
    for (const number of [1, 2]) {
      const answer = await callApi(`${cluster.controllerUrl(number)}/api/cluster`, "GET");
      assert.match(JSON.stringify(answer.body), new RegExp(name === "PostgreSQL" ? "PostgreSQL" : "MariaDB|MySQL"));
    }
  });

  test(`${name}: any controller serves any request, and a read sees what the other acknowledged`, async () => {
    const work = await workingCopy("equal");
    for (let push = 1; push <= 8; push += 1) {
      const [to, from] = push % 2 === 0 ? ["$ONE", "$TWO"] : ["$TWO", "$ONE"];
      await work.ok(
        `git commit -q --allow-empty -m 'push ${push}' && git push -q ${to} master && rm -rf ../clone && git clone -q ${from} ../clone`,
      );
      assert.equal(await work.ok("git -C ../clone rev-parse HEAD"), await work.ok("git rev-parse HEAD"));
    }
    assert.equal((await cluster.show("equal", 1)).generation, (await cluster.show("equal", 2)).generation);
    await assertReplicas(cluster, "equal");
  });

  test(`${name}: names are bytes`, async () => {
    await cluster.create("bytes/Name");
    assert.equal((await callApi(`${cluster.controllerUrl(2)}/api/repos/bytes/name`, "GET")).status, 404);
    await cluster.create("bytes/name");
    const work = await workingCopy("bytes/refs");
    await work.ok(`
      for ref in größe grösse grosse GRÖSSE GROSSE Grosse 日本 🐙 $'latin1-\\xe4' "a b"; do
        git check-ref-format "refs/heads/$ref" || continue
        git commit -q --allow-empty -m "$ref" && git push -q $TWO "HEAD:refs/heads/$ref"
      done
      for ref in grosse GRÖSSE; do git push -q $ONE ":refs/heads/$ref"; done
    `);
    assert.equal((await assertReplicas(cluster, "bytes/refs")).split("\n").length, 8);
  });

  test(`${name}: racing through both controllers, one creation and one push to a ref win`, async () => {
    const creations = await Promise.all(
      Array.from({ length: 8 }, (_, index) =>
        callApi(`${cluster.controllerUrl(1 + (index % 2))}/api/repos/race`, "POST"),
      ),
    );
    assert.equal(
      creations.filter(({ status }) => status === 201).length,
      1,
      JSON.stringify(creations.map(({ body }) => body)),
    );
    assert.equal(creations.filter(({ status }) => status === 409).length, 7);
    const work = await workingCopy("race/refs");
    for (let index = 0; index < 6; index += 1) {
      await work.ok(
        `git clone -q $ONE ../clone-${index} && cd ../clone-${index} && git commit -q --allow-empty -m ${index}`,
      );
    }
    for (const ref of ["master", "new/a", "new/b"]) {
      const pushes = await Promise.all(
        Array.from({ length: 6 }, (_, index) =>
          work.in(`../clone-${index}`).run(`git push ${index % 2 === 0 ? "$ONE" : "$TWO"} HEAD:refs/heads/${ref}`),
        ),
      );
      assert.equal(pushes.filter(({ code }) => code === 0).length, 1, pushes.map(({ stderr }) => stderr).join("\n"));
      for (const { code, stderr } of pushes) if (code !== 0) assert.match(stderr, /rejected\].*\(.+\)/);
    }
    const different = await Promise.all(
      Array.from({ length: 6 }, (_, index) =>
        work
          .in(`../clone-${index}`)
          .run(`git push -q ${index % 2 === 0 ? "$ONE" : "$TWO"} HEAD:refs/heads/own/${index}`),
      ),
    );
    assert.deepEqual(
      different.map(({ code, stderr }) => `${code} ${stderr}`),
      Array.from({ length: 6 }, () => "0 "),
    );
    await assertReplicas(cluster, "race/refs");
  });

  test(`${name}: controllers are killed in turn during pushes; the client tries the other, nothing is lost`, async () => {
    const work = await workingCopy("killed");
    const acknowledged: string[] = [];
    let done = false;
    const writer = (async () => {
      for (let commit = 1; commit <= 30; commit += 1) {
        await work.ok(`git commit -q --allow-empty -m 'commit ${commit}'`);
        await waitFor(async () => (await work.run("git push -q $ONE master || git push -q $TWO master")).code === 0, {
          what: `commit ${commit} to be taken`,
          limitMs: 60_000,
        });
        acknowledged.push(await work.ok("git rev-parse HEAD"));
      }
    })().finally(() => {
      done = true;
    });
    const killer = (async () => {
      for (let round = 0; !done; round += 1) {
        const controller = `controller-${1 + (round % 2)}`;
        const before = acknowledged.length;
        await cluster.kill(controller);
        await waitFor(() => done || acknowledged.length >= before + 3, {
          what: "pushes through the other",
          limitMs: 60_000,
        });
        await cluster.start(controller);
      }
    })();
    await Promise.all([writer, killer]);
    await assertReplicas(cluster, "killed", { commits: acknowledged });
    await work.ok("git clone -q $TWO ../clone");
    assert.equal(await work.ok("git -C ../clone rev-parse HEAD"), acknowledged.at(-1));
  });

  test(`${name}: a controller that dies in the middle of a push leaves all of it or nothing`, async () => {
    const work = await workingCopy("half");
    const refs = ["refs/heads/a", "refs/heads/b", "refs/heads/c/d", "refs/tags/t"];
    const values = async (): Promise<string[]> => {
      const all = await refsOfRemote(work, cluster.repo("half", 2));
      return refs.map(
        (ref) =>
          all
            .split("\n")
            .find((line) => line.endsWith(` ${ref}`))
            ?.slice(0, 40) ?? "none",
      );
    };
    // First in the middle of a large upload, then at any other moment.
    writeRandomFile(work, "large", 30_000_000);
    await work.ok("git add . && git commit -q -m large");
    for (let round = 0; round < 4; round += 1) {
      await work.ok(`git commit -q --allow-empty -m 'round ${round}'`);
      const before = await values();
      const head = await work.ok("git rev-parse HEAD");
      const push = work.start(`git push -q -f $ONE ${refs.map((ref) => `HEAD:${ref}`).join(" ")}`);
      if (round === 0) await waitForQuarantine(cluster, "node-1");
      // At a random moment of a push that takes some 200 ms.
      else await new Promise((resolve) => setTimeout(resolve, Math.random() * 250));
      await cluster.kill("controller-1");
      const { code } = await push.outcome;
      const now = await values();
      if (code === 0)
        assert.deepEqual(
          now,
          refs.map(() => head),
          "acknowledged",
        );
      else
        assert.ok(
          now.every((value) => value === head) || now.join() === before.join(),
          `half a push: ${now.join()} of ${head}`,
        );
      await cluster.start("controller-1");
    }
    await work.ok(`git push -q -f $TWO ${refs.map((ref) => `HEAD:${ref}`).join(" ")}`);
    await assertReplicas(cluster, "half");
    for (const node of cluster.nodeNames()) {
      await waitFor(() => cluster.leftovers(node).length === 0, { what: `no quarantine on ${node}` });
    }
  });

  test(`${name}: a node returns while the controller that led the repair is dead`, async () => {
    const work = await workingCopy("led");
    for (const [controller, other] of [
      ["controller-1", "$TWO"],
      ["controller-2", "$ONE"],
    ] as const) {
      await cluster.kill("node-2");
      await work.ok(`git commit -q --allow-empty -m 'without node-2 and ${controller}' && git push -q ${other} master`);
      await cluster.kill(controller);
      cluster.servers.start("node-2");
      const left = controller === "controller-1" ? 2 : 1;
      await waitFor(
        async () => {
          const view = await cluster.show("led", left);
          return (
            view.nodes.filter((node) => node.status === "READY" && node.generation === view.generation).length === 3
          );
        },
        { what: "node-2 to be READY", limitMs: 60_000 },
      );
      await cluster.start(controller);
    }
    await assertReplicas(cluster, "led");
  });

  test(`${name}: the database dies and returns: pushes are refused with a sentence, then go on`, async () => {
    const work = await workingCopy("database");
    const commits = [await work.ok("git rev-parse HEAD")];
    await database.crash();
    await work.ok("git commit -q --allow-empty -m 'without a database'");
    const refused = await work.fails("git push $ONE master", { limitMs: 60_000 });
    assert.match(refused, /store|503/i);
    assert.equal((await callApi(`${cluster.url}/readyz`, "GET")).status, 503);
    assert.equal((await callApi(`${cluster.url}/healthz`, "GET")).status, 200);
    await database.restart();
    await waitFor(async () => (await work.run("git push -q $ONE master")).code === 0, {
      what: "pushes to go on",
      limitMs: 60_000,
    });
    commits.push(await work.ok("git rev-parse HEAD"));
    await assertReplicas(cluster, "database", { commits });
  });
}
