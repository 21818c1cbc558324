/** Everything that a person fetches. git-fetch-uncached.test.ts and git-fetch-small-cache.test.ts do it all once more. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startCluster } from "../support/cluster.ts";
import { makeHistory } from "../support/git.ts";
import { assertReplicas } from "../support/replicas.ts";

const cacheBytes = process.env["GITMESH_FETCH_CACHE_BYTES"];
const cluster = await startCluster(cacheBytes === undefined ? {} : { env: { GITMESH_FETCH_CACHE_BYTES: cacheBytes } });
after(() => cluster.stop());

const versions = [0, 1, 2];

before(async () => {
  await cluster.create("history");
  const terminal = cluster.terminal();
  await makeHistory(terminal, "source.git", { commits: 120, branches: 10, tags: 10 });
  await terminal.in("source.git").ok("git push -q --mirror $GIT/history.git");
});

test("protocol v0, v1 and v2: ls-remote and clone say the same", async () => {
  const terminal = cluster.terminal();
  const listed = await terminal.ok("git -c protocol.version=2 ls-remote $GIT/history.git");
  assert.match(listed, /^[0-9a-f]{40}\tHEAD\n/);
  assert.match(listed, /refs\/tags\/t\/0\^\{\}/);
  for (const version of versions) {
    const protocol = `git -c protocol.version=${version}`;
    assert.equal(await terminal.ok(`${protocol} ls-remote $GIT/history.git`), listed, `v${version}`);
    assert.equal(
      await terminal.ok(`${protocol} ls-remote --symref $GIT/history.git HEAD`),
      `ref: refs/heads/master\tHEAD\n${listed.slice(0, 45)}`,
      `v${version}`,
    );
    await terminal.ok(`${protocol} clone -q --mirror $GIT/history.git v${version}.git`);
    const trace = await terminal.run(`GIT_TRACE_PACKET=1 ${protocol} ls-remote $GIT/history.git`);
    const spoken = /< version (\d)/.exec(trace.stderr)?.[1] ?? "0";
    assert.equal(spoken, String(version));
  }
  const refs = await terminal.ok("git -C v0.git for-each-ref");
  for (const version of versions) assert.equal(await terminal.ok(`git -C v${version}.git for-each-ref`), refs);
  assert.equal(await terminal.ok("git -C v2.git rev-list --all | wc -l"), "120");
});

test("an empty repository: the clone gets the right unborn branch", async () => {
  const terminal = cluster.terminal();
  await cluster.create("empty");
  await cluster.create("empty-trunk", { defaultBranch: "trunk" });
  for (const version of versions) {
    const clone = await terminal.run(`git -c protocol.version=${version} clone $GIT/empty.git empty-${version}`);
    assert.equal(clone.code, 0, clone.stderr);
    assert.match(clone.stderr, /empty repository/);
    assert.equal(await terminal.ok(`git -c protocol.version=${version} ls-remote $GIT/empty.git`), "");
  }
  await terminal.ok("git clone -q $GIT/empty.git master && git clone -q $GIT/empty-trunk.git trunk");
  assert.equal(await terminal.ok("git -C master symbolic-ref HEAD"), "refs/heads/master");
  assert.equal(await terminal.ok("git -C trunk symbolic-ref HEAD"), "refs/heads/trunk");
  await terminal.ok("cd trunk && git commit -q --allow-empty -m one && git push -q");
  assert.match(await terminal.ok("git ls-remote --symref $GIT/empty-trunk.git HEAD"), /^ref: refs\/heads\/trunk\tHEAD/);
  // HEAD is unborn when only another branch was pushed.
  await terminal.ok(
    "cd master && git commit -q --allow-empty -m one && git push -q origin HEAD:other && git clone -q $GIT/empty.git ../unborn",
  );
  assert.equal(await terminal.ok("git -C unborn symbolic-ref HEAD"), "refs/heads/master");
});

test("fetch brings what is new, and prunes what is gone", async () => {
  const terminal = cluster.terminal();
  await cluster.create("news");
  await terminal.ok(`
    git init -q work && cd work && git remote add origin $GIT/news.git
    git commit -q --allow-empty -m one && git push -q origin master HEAD:topic
  `);
  for (const version of versions)
    await terminal.ok(`git -c protocol.version=${version} clone -q $GIT/news.git clone-${version}`);
  await terminal.ok(
    "cd work && git commit -q --allow-empty -m two && git tag -a -m t t && git push -q origin master t :topic",
  );
  for (const version of versions) {
    await terminal.ok(`cd clone-${version} && git -c protocol.version=${version} fetch -q --prune`);
    assert.equal(await terminal.ok(`git -C clone-${version} log -1 --format=%s origin/master`), "two");
    assert.equal(await terminal.ok(`git -C clone-${version} branch -r --list origin/topic`), "");
    assert.equal(await terminal.ok(`git -C clone-${version} tag`), "t");
    assert.equal(await terminal.ok(`cd clone-${version} && git -c protocol.version=${version} fetch 2>&1`), "");
  }
});

test("shallow clone, deepen, unshallow, by date, excluding a tag", async () => {
  const terminal = cluster.terminal();
  await terminal.ok("git clone -q --mirror $GIT/history.git full.git");
  for (const version of versions) {
    const git = `git -c protocol.version=${version}`;
    const directory = `shallow-${version}`;
    await terminal.ok(`${git} clone -q --depth 3 $GIT/history.git ${directory}`);
    const shallow = terminal.in(directory);
    assert.equal(await shallow.ok("git rev-list --count HEAD"), "3");
    await shallow.ok(`${git} fetch -q --depth 10`);
    assert.equal(await shallow.ok("git rev-list --count HEAD"), "10");
    await shallow.ok(`${git} fetch -q --deepen 5`);
    assert.equal(await shallow.ok("git rev-list --count HEAD"), "15");
    await shallow.ok(`${git} fetch -q --unshallow`);
    assert.equal(await shallow.ok("git rev-list --count HEAD"), "120");
    await shallow.ok("git fsck --no-progress");
    await terminal.ok(`${git} clone -q --shallow-exclude=t/5 --branch master $GIT/history.git excluded-${version}`);
    assert.equal(
      await terminal.ok(`git -C excluded-${version} rev-list --count HEAD`),
      await terminal.ok("git -C full.git rev-list --count t/5..master"),
    );
  }
  await terminal.ok("git clone -q --shallow-since=2001-01-01 $GIT/history.git since");
  assert.equal(await terminal.ok("git -C since rev-list --count HEAD"), "120");
});

test("partial clones: blob:none and tree:0, with later lazy fetches", async () => {
  const terminal = cluster.terminal();
  for (const version of versions) {
    for (const filter of ["blob:none", "tree:0", "blob:limit=10"]) {
      const directory = `${filter.replaceAll(/\W/g, "-")}-${version}`;
      await terminal.ok(
        `git -c protocol.version=${version} clone -q --no-checkout --filter=${filter} $GIT/history.git ${directory}`,
      );
      const partial = terminal.in(directory);
      const missing = Number(
        await partial.ok("git rev-list --objects --all --missing=print | { grep -c '^?' || true; }"),
      );
      assert.ok(missing > 0, `${filter} v${version}: nothing is missing`);
      await partial.ok(`git -c protocol.version=${version} checkout -q master`);
      assert.equal(await partial.ok("cat d1/f1"), " line 1");
      await partial.ok("git diff master~1 master | grep -q 'line 120'");
    }
  }
});

test("fetch by object id, reachable from no ref name that the client knows", async () => {
  const terminal = cluster.terminal();
  await terminal.ok("git clone -q $GIT/history.git full");
  const oid = await terminal.ok("git -C full rev-parse master~77");
  for (const version of versions) {
    await terminal.ok(
      `git init -q by-id-${version} && cd by-id-${version} && git -c protocol.version=${version} fetch -q --depth 1 $GIT/history.git ${oid}`,
    );
    assert.equal(await terminal.ok(`git -C by-id-${version} rev-parse FETCH_HEAD`), oid);
  }
  const unknown = "1234567890".repeat(4);
  await terminal.fails(`git -C full fetch $GIT/history.git ${unknown}`);
});

test("single branch, one tag, a bare mirror, refs by pattern", async () => {
  const terminal = cluster.terminal();
  await terminal.ok("git clone -q --single-branch --branch b/3 $GIT/history.git single");
  assert.equal(await terminal.ok("git -C single branch -r"), "  origin/b/3");
  await terminal.ok("git clone -q --branch t/4 --depth 1 $GIT/history.git at-tag");
  assert.equal(await terminal.ok("git -C at-tag describe --tags"), "t/4");
  assert.equal(await terminal.ok("git ls-remote --heads $GIT/history.git 'refs/heads/b/*' | wc -l"), "10");
  await terminal.ok("git init -q some && cd some && git fetch -q $GIT/history.git 'refs/heads/b/*:refs/theirs/*'");
  assert.equal(await terminal.ok("git -C some for-each-ref refs/theirs | wc -l"), "10");
});

test("submodules", async () => {
  const terminal = cluster.terminal();
  await cluster.create("super/lib");
  await cluster.create("super/app");
  await terminal.ok(`
    git init -q lib && cd lib && echo lib > lib.txt && git add . && git commit -q -m lib && git push -q $GIT/super/lib.git master
    cd .. && git init -q app && cd app && git submodule --quiet add $GIT/super/lib.git lib
    git commit -q -m app && git push -q $GIT/super/app.git master
    git clone -q --recurse-submodules $GIT/super/app.git ../again
  `);
  assert.equal(await terminal.ok("cat again/lib/lib.txt"), "lib");
});

test("git remote, git pull, git archive of a clone, git bundle", async () => {
  const terminal = cluster.terminal();
  await terminal.ok("git clone -q $GIT/history.git work && cd work && git pull -q --rebase && git remote show origin");
  await terminal.ok("cd work && git bundle create -q ../all.bundle --all && git bundle verify -q ../all.bundle");
});

test("an unknown repository: git says 'not found'", async () => {
  const terminal = cluster.terminal();
  for (const version of versions) {
    assert.match(await terminal.fails(`git -c protocol.version=${version} clone $GIT/nowhere.git`), /not found/);
  }
  await terminal.ok("git init -q work && git -C work commit -q --allow-empty -m x");
  assert.match(await terminal.fails("git -C work push $GIT/nowhere.git master"), /not found/);
  const answer = await fetch(`${cluster.url}/git/nowhere.git/info/refs?service=git-upload-pack`);
  assert.equal(answer.status, 404);
  await answer.text();
});

test("reads are spread over the replicas, and leave no process", async () => {
  const terminal = cluster.terminal();
  await Promise.all(
    Array.from({ length: 9 }, (_, index) => terminal.ok(`git clone -q --bare $GIT/history.git clone-${index}`)),
  );
  await assertReplicas(cluster, "history");
  assert.deepEqual(cluster.gitProcesses(), []);
});
