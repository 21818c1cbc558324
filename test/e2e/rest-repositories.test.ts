/** REST: repositories. Each line of the API's table, with every status. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { Problem, RepositoryView } from "../support/api.ts";
import { startCluster } from "../support/cluster.ts";
import { assertReplicas } from "../support/replicas.ts";
import { waitFor } from "../support/wait.ts";

const cluster = await startCluster();
after(() => cluster.stop());

/** An RFC 9457 problem document with this status. Gives its detail. */
async function problem(status: number, method: string, path: string, body?: unknown): Promise<string> {
  const answer = await cluster.api(method, path, body);
  const what = `${method} ${path} ${JSON.stringify(body) ?? ""}: ${JSON.stringify(answer.body)}`;
  assert.equal(answer.status, status, what);
  assert.match(answer.headers.get("content-type") ?? "", /^application\/problem\+json/, what);
  const document = answer.body as Problem;
  assert.equal(document.status, status, what);
  for (const member of ["type", "title", "code", "detail"] as const)
    assert.ok(document[member].length > 0, `${member} of ${what}`);
  return document.detail;
}

test("POST makes a repository: 201, and 409 for the same name", async () => {
  const answer = await cluster.api("POST", "/api/repos/made");
  assert.equal(answer.status, 201);
  const made = answer.body as RepositoryView;
  assert.equal(made.name, "made");
  assert.equal(made.timestamp, -1);
  assert.equal(made.generation, 0);
  assert.equal(made.cloneUrl, cluster.repo("made"));
  assert.equal(made.nodes.length, 3);
  assert.deepEqual(
    made.nodes.map(({ status }) => status),
    ["READY", "READY", "READY"],
  );
  assert.ok(made.nodes.some(({ url }) => url === made.primaryNode));
  assert.ok(made.size >= 0);
  assert.deepEqual((await cluster.api("GET", "/api/repos/made")).body, made);
  await problem(409, "POST", "/api/repos/made");
});

test("POST takes replicas, default branch, object format and description", async () => {
  const body = { replicas: 2, defaultBranch: "trunk", objectFormat: "sha256", description: "Größe: 2 Kopien" };
  const answer = await cluster.api("POST", "/api/repos/with-options", body);
  assert.equal(answer.status, 201, JSON.stringify(answer.body));
  const view = await cluster.show("with-options");
  assert.equal(view.replicas, 2);
  assert.equal(view.nodes.length, 2);
  assert.equal(view.defaultBranch, "trunk");
  assert.equal(view.objectFormat, "sha256");
  assert.equal(view.description, body.description);
});

test("POST says 503 when there are too few nodes for the replicas", async () => {
  await problem(503, "POST", "/api/repos/too-many-replicas", { replicas: 4 });
  await problem(404, "GET", "/api/repos/too-many-replicas");
});

test("a body that does not fit the schema is 400 with what is wrong, and makes nothing", async () => {
  const bodies: readonly [unknown, RegExp][] = [
    [{ replicas: "three" }, /replicas/],
    [{ replicas: 0 }, /replicas/],
    [{ replicas: 1.5 }, /replicas/],
    [{ defaultBranch: "" }, /defaultBranch/],
    [{ defaultBranch: "a..b" }, /defaultBranch/],
    [{ objectFormat: "md5" }, /objectFormat/],
    [{ description: "x".repeat(2000) }, /description/],
    [{ unknown: 1 }, /unknown/],
    [[], /./],
    ["text", /./],
    [{ replicas: "x", objectFormat: "y" }, /replicas.*objectFormat|objectFormat.*replicas/s],
  ];
  for (const [body, mentions] of bodies)
    assert.match(await problem(400, "POST", "/api/repos/never-made", body), mentions);
  await problem(404, "GET", "/api/repos/never-made");
});

test("what is no JSON is 400, another media type 415, a body beyond the limit 413", async () => {
  const post = async (body: string, type: string): Promise<number> => {
    const answer = await fetch(`${cluster.url}/api/repos/never-made`, {
      method: "POST",
      headers: { "content-type": type },
      body,
    });
    assert.match(answer.headers.get("content-type") ?? "", /problem\+json/, body.slice(0, 40));
    await answer.arrayBuffer();
    return answer.status;
  };
  assert.equal(await post("{", "application/json"), 400);
  assert.equal(await post('{"__proto__": {"replicas": 1}}', "application/json"), 400);
  assert.equal(await post("replicas: 1", "application/yaml"), 415);
  assert.equal(await post(JSON.stringify({ description: "x".repeat(1024 * 1024) }), "application/json"), 413);
  await problem(404, "GET", "/api/repos/never-made");
});

test("names that are none are 400 with the reason, for every call", async () => {
  const names: readonly [string, RegExp][] = [
    [".hidden", /begin|start/],
    ["-option", /begin|start/],
    ["a.git", /\.git/],
    ["a.lock", /\.lock/],
    ["owner//repo", /empty/],
    ["owner/", /empty/],
    ["a b", /character|letters/],
    ["a%20b", /character|letters/],
    ["ümlaut", /character|letters/],
    ["a;b", /character|letters/],
    ["x".repeat(101), /100/],
    [Array.from({ length: 4 }, () => "y".repeat(80)).join("/"), /255/],
  ];
  for (const [name, reason] of names) {
    const path = `/api/repos/${name}`;
    assert.match(await problem(400, "POST", path), reason);
    for (const method of ["GET", "DELETE"]) await problem(400, method, path);
    await problem(400, "PATCH", path, { description: "x" });
  }
});

test("names up to the limits are taken", async () => {
  for (const name of ["z".repeat(100), `${"a".repeat(100)}/${"b".repeat(100)}/${"c".repeat(53)}`, "9", "a.b", "_x-"]) {
    await cluster.create(name);
    assert.equal((await cluster.show(name)).name, name);
  }
});

test("names are bytes: case is distinct", async () => {
  await cluster.create("case/Test");
  await problem(404, "GET", "/api/repos/case/test");
  await cluster.create("case/test");
});

test("GET of an unknown repository is 404, an unknown path and method too are problems", async () => {
  await problem(404, "GET", "/api/repos/nowhere");
  await problem(404, "GET", "/api/nothing");
  await problem(404, "GET", "/nothing");
  const answer = await cluster.api("PUT", "/api/repos/nowhere");
  assert.ok([404, 405].includes(answer.status));
});

test("GET lists repositories: filter, sort, pages by cursor", async () => {
  for (const name of ["list/c", "list/a", "list/b", "list/e", "list/d"]) await cluster.create(name);
  const names = (body: unknown): string[] => (body as RepositoryView[]).map(({ name }) => name);
  const all = await cluster.api("GET", "/api/repos");
  assert.equal(all.status, 200);
  assert.ok(["list/a", "list/b", "list/c", "list/d", "list/e"].every((name) => names(all.body).includes(name)));

  const filtered = await cluster.api("GET", "/api/repos?contains=list/&sort=name");
  assert.deepEqual(names(filtered.body), ["list/a", "list/b", "list/c", "list/d", "list/e"]);
  const reversed = await cluster.api("GET", "/api/repos?contains=list/&sort=-name");
  assert.deepEqual(names(reversed.body), ["list/e", "list/d", "list/c", "list/b", "list/a"]);
  const created = await cluster.api("GET", "/api/repos?contains=list/&sort=created");
  assert.deepEqual(names(created.body), ["list/c", "list/a", "list/b", "list/e", "list/d"]);
  assert.deepEqual((await cluster.api("GET", "/api/repos?contains=list/&state=degraded")).body, []);

  for (const sort of ["name", "-name", "created", "-created", "pushed", "-pushed"]) {
    const seen: string[] = [];
    let next: string | undefined = `/api/repos?contains=list/&sort=${sort}&limit=2`;
    while (next !== undefined) {
      const page = await cluster.api("GET", next);
      assert.equal(page.status, 200, next);
      assert.ok(names(page.body).length <= 2);
      seen.push(...names(page.body));
      const link: string | undefined = /<([^>]+)>; *rel="next"/.exec(page.headers.get("link") ?? "")?.[1];
      next = link === undefined ? undefined : new URL(link, cluster.url).pathname + new URL(link, cluster.url).search;
      assert.ok(seen.length <= 5, `pages of ${sort} do not end: ${seen.join(" ")}`);
    }
    assert.deepEqual(seen.toSorted(), ["list/a", "list/b", "list/c", "list/d", "list/e"], sort);
  }

  await problem(400, "GET", "/api/repos?limit=0");
  await problem(400, "GET", "/api/repos?limit=many");
  await problem(400, "GET", "/api/repos?sort=colour");
  await problem(400, "GET", "/api/repos?cursor=!!");
  await problem(400, "GET", "/api/repos?unknown=1");
});

test("PATCH renames: the old name is free, clones go on under the new one, the directories stay", async () => {
  const terminal = cluster.terminal();
  await cluster.create("old-name");
  await terminal.ok(
    "git init -q work && cd work && git commit -q --allow-empty -m one && git push -q $GIT/old-name.git master",
  );
  const before = await cluster.show("old-name");
  const answer = await cluster.api("PATCH", "/api/repos/old-name", { name: "team/new-name" });
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  assert.equal((answer.body as RepositoryView).name, "team/new-name");
  assert.equal((await cluster.show("team/new-name")).id, before.id);
  await problem(404, "GET", "/api/repos/old-name");
  await terminal.fails("git ls-remote $GIT/old-name.git");
  await terminal.ok("git clone -q $GIT/team/new-name.git clone && cd work && git commit -q --allow-empty -m two");
  await terminal.ok("cd work && git push -q $GIT/team/new-name.git master");
  await assertReplicas(cluster, "team/new-name");
  await cluster.create("old-name");
  assert.equal(await terminal.ok("git ls-remote $GIT/old-name.git"), "");
});

test("PATCH: 409 for a name that is taken, 404 unknown, 400 for what does not fit", async () => {
  await cluster.create("patch/one");
  await cluster.create("patch/two");
  await problem(409, "PATCH", "/api/repos/patch/one", { name: "patch/two" });
  await problem(404, "PATCH", "/api/repos/patch/none", { description: "x" });
  await problem(400, "PATCH", "/api/repos/patch/one", { name: "../x" });
  await problem(400, "PATCH", "/api/repos/patch/one", { replicas: 0 });
  await problem(400, "PATCH", "/api/repos/patch/one", { denyDeletes: "yes" });
  await problem(400, "PATCH", "/api/repos/patch/one", { size: 1 });
  assert.equal((await cluster.show("patch/one")).name, "patch/one");
});

test("PATCH changes the default branch: what HEAD is for clients and on the replicas", async () => {
  const terminal = cluster.terminal();
  await cluster.create("head");
  await terminal.ok(`
    git init -q work && cd work
    git commit -q --allow-empty -m one && git branch other && git push -q $GIT/head.git master other
  `);
  assert.match(await terminal.ok("git ls-remote --symref $GIT/head.git HEAD"), /^ref: refs\/heads\/master\tHEAD/);
  const answer = await cluster.api("PATCH", "/api/repos/head", { defaultBranch: "other", description: "changed" });
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  assert.equal((await cluster.show("head")).defaultBranch, "other");
  assert.equal((await cluster.show("head")).description, "changed");
  assert.match(await terminal.ok("git ls-remote --symref $GIT/head.git HEAD"), /^ref: refs\/heads\/other\tHEAD/);
  await terminal.ok("git clone -q $GIT/head.git clone");
  assert.equal(await terminal.ok("git -C clone symbolic-ref HEAD"), "refs/heads/other");
  await waitFor(
    async () => {
      for (const directory of (await cluster.replicaDirectories("head")).values()) {
        assert.equal(await terminal.ok(`git -C '${directory}' symbolic-ref HEAD`), "refs/heads/other");
      }
      return true;
    },
    { what: "HEAD of the replicas to follow" },
  );
});

test("PATCH changes the number of replicas, up and down", async () => {
  const terminal = cluster.terminal();
  await cluster.create("resized", { replicas: 1 });
  await terminal.ok(
    "git init -q work && cd work && git commit -q --allow-empty -m one && git push -q $GIT/resized.git master",
  );
  assert.equal((await cluster.show("resized")).nodes.length, 1);
  assert.equal((await cluster.api("PATCH", "/api/repos/resized", { replicas: 3 })).status, 200);
  await assertReplicas(cluster, "resized");
  assert.equal((await cluster.api("PATCH", "/api/repos/resized", { replicas: 2 })).status, 200);
  await waitFor(async () => (await cluster.show("resized")).nodes.length === 2, { what: "the surplus replica to go" });
  await assertReplicas(cluster, "resized", { ready: 2 });
});

test("DELETE and POST _delete: 204, then 404; the name can be used again and starts empty", async () => {
  const terminal = cluster.terminal();
  for (const [method, suffix] of [
    ["DELETE", ""],
    ["POST", "/_delete"],
  ] as const) {
    await cluster.create("short-lived");
    await terminal.ok(
      "rm -rf w && git init -q w && cd w && git commit -q --allow-empty -m x && git push -q $GIT/short-lived.git master",
    );
    const before = await cluster.replicaDirectories("short-lived");
    assert.equal(before.size, 3);
    const answer = await cluster.api(method, `/api/repos/short-lived${suffix}`);
    assert.equal(answer.status, 204);
    assert.equal(answer.body, "");
    await problem(404, "GET", "/api/repos/short-lived");
    await problem(404, method, `/api/repos/short-lived${suffix}`);
    assert.match(await terminal.fails("git clone -q $GIT/short-lived.git clone"), /not found/);
    await cluster.create("short-lived");
    assert.equal(await terminal.ok("git ls-remote $GIT/short-lived.git"), "");
    assert.equal((await cluster.api("DELETE", "/api/repos/short-lived")).status, 204);
  }
});

test("creations of one name at once: one is made, the others are told", async () => {
  const answers = await Promise.all(Array.from({ length: 8 }, () => cluster.api("POST", "/api/repos/contended")));
  const statuses = answers.map(({ status }) => status).toSorted((one, other) => one - other);
  assert.deepEqual(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
  await cluster.waitReady("contended");
});
