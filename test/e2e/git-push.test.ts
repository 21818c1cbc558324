/** Everything that a person pushes. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { startCluster } from "../support/cluster.ts";
import { makeHistory, refsOfRemote } from "../support/git.ts";
import { assertReplicas } from "../support/replicas.ts";
import type { Terminal } from "../support/terminal.ts";

const cluster = await startCluster();
after(() => cluster.stop());

/** A new repository, and a working copy of it in `work` with one commit that is pushed. */
async function workingCopy(name: string, body?: Readonly<Record<string, unknown>>): Promise<Terminal> {
  await cluster.create(name, body);
  const terminal = cluster.terminal();
  await terminal.ok(`
    git init -q work && cd work
    git remote add origin $GIT/${name}.git
    echo one > file && git add file && git commit -q -m one
    git push -q -u origin master
  `);
  return terminal.in("work");
}

test("branches: made, moved, several at once, deleted", async () => {
  const work = await workingCopy("branches");
  await work.ok("git branch topic/a && git branch topic/b && git push -q origin topic/a topic/b");
  await work.ok("git commit -q --allow-empty -m two && git push -q origin master HEAD:topic/a HEAD:refs/heads/c");
  const head = await work.ok("git rev-parse HEAD");
  assert.equal(
    await assertReplicas(cluster, "branches"),
    [
      `${head} refs/heads/c`,
      `${head} refs/heads/master`,
      `${head} refs/heads/topic/a`,
      `${await work.ok("git rev-parse HEAD~1")} refs/heads/topic/b`,
    ].join("\n"),
  );
  await work.ok("git push -q origin --delete topic/a topic/b && git push -q origin :c");
  assert.equal(await assertReplicas(cluster, "branches"), `${head} refs/heads/master`);
  // A delete together with a move, and one that makes way for a directory.
  await work.ok("git push -q origin master:x && git push -q origin :x master:x/y");
  await work.ok("git push -q origin :x/y master:x");
  assert.equal(await assertReplicas(cluster, "branches"), `${head} refs/heads/master\n${head} refs/heads/x`);
});

test("tags: light, annotated, a tag of a tag, of a tree and a blob; ls-remote shows them peeled", async () => {
  const work = await workingCopy("tags");
  await work.ok(`
    git tag light
    git tag -a -m annotated annotated
    git tag -a -m nested nested annotated
    git tag -a -m tree tree HEAD^{tree}
    git tag blob HEAD:file
    git push -q origin --tags
  `);
  const listed = (await work.ok("git ls-remote --tags origin"))
    .split("\n")
    .map((line) => line.split("\t").toReversed().join(" "));
  const commit = await work.ok("git rev-parse HEAD");
  assert.deepEqual(listed, [
    `refs/tags/annotated ${await work.ok("git rev-parse annotated")}`,
    `refs/tags/annotated^{} ${commit}`,
    `refs/tags/blob ${await work.ok("git rev-parse HEAD:file")}`,
    `refs/tags/light ${commit}`,
    `refs/tags/nested ${await work.ok("git rev-parse nested")}`,
    `refs/tags/nested^{} ${commit}`,
    `refs/tags/tree ${await work.ok("git rev-parse tree")}`,
    `refs/tags/tree^{} ${await work.ok("git rev-parse HEAD^{tree}")}`,
  ]);
  for (const version of [0, 1]) {
    assert.equal(
      await work.ok(`git -c protocol.version=${version} ls-remote --tags origin`),
      await work.ok("git ls-remote --tags origin"),
    );
  }
  await assertReplicas(cluster, "tags");
  // --follow-tags, and a tag that is there already is not moved without force.
  await work.ok(
    "git commit -q --allow-empty -m two && git tag -a -m followed followed && git push -q --follow-tags origin master",
  );
  assert.match(await work.ok("git ls-remote origin refs/tags/followed"), /refs\/tags\/followed/);
  await work.ok("git tag -f light HEAD");
  assert.match(await work.fails("git push origin light"), /already exists|rejected/);
  await work.ok("git push -q -f origin light");
  assert.match(await work.ok("git ls-remote origin refs/tags/light"), new RegExp(await work.ok("git rev-parse HEAD")));
  await work.ok("git push -q origin :refs/tags/light :refs/tags/blob");
  await assertReplicas(cluster, "tags");
});

test("notes and any other refs/*, with bytes that are no ASCII", async () => {
  const work = await workingCopy("custom");
  await work.ok(`
    git notes add -m 'a note'
    git push -q origin refs/notes/commits
    git push -q origin HEAD:refs/changes/01/1/1 HEAD:refs/pull/7/head HEAD:refs/meta/config HEAD:refs/x/y/z
    git push -q origin HEAD:refs/heads/größe HEAD:refs/heads/GRÖSSE HEAD:refs/heads/日本 HEAD:refs/heads/Master
    git push -q origin HEAD:refs/heads/$'latin1-\\xe4' HEAD:refs/heads/grosse
  `);
  const refs = await assertReplicas(cluster, "custom");
  assert.equal(refs.split("\n").length, 12);
  for (const name of ["refs/heads/größe", "refs/heads/日本", "refs/heads/Master", "refs/pull/7/head"])
    assert.ok(refs.includes(name), name);
  await work.ok(
    "git clone -q $GIT/custom.git ../clone && cd ../clone && git fetch -q origin 'refs/notes/*:refs/notes/*'",
  );
  assert.equal(await work.in("../clone").ok("git notes show HEAD"), "a note");
  await work.ok("git clone -q --mirror $GIT/custom.git ../mirror");
  assert.equal(await work.in("../mirror").ok("git for-each-ref --format='%(objectname) %(refname)'"), refs);
  await work.ok("git push -q origin --delete refs/heads/größe refs/notes/commits refs/heads/$'latin1-\\xe4'");
  assert.equal((await assertReplicas(cluster, "custom")).split("\n").length, 9);
});

test("a mirror is pushed whole, and pruned", async () => {
  await cluster.create("mirror");
  const terminal = cluster.terminal();
  await makeHistory(terminal, "source.git", { commits: 50, branches: 12, tags: 5 });
  const source = terminal.in("source.git");
  await source.ok("git push -q --mirror $GIT/mirror.git");
  const refs = await source.ok("git for-each-ref --format='%(objectname) %(refname)'");
  assert.equal(await assertReplicas(cluster, "mirror"), refs);
  await source.ok("git branch -q -D b/0 b/1 b/2 && git tag -d t/0 && git push -q --mirror $GIT/mirror.git");
  assert.equal(
    await assertReplicas(cluster, "mirror"),
    await source.ok("git for-each-ref --format='%(objectname) %(refname)'"),
  );
});

test("force: what is not a fast-forward is rejected by git, and taken with force", async () => {
  const work = await workingCopy("force");
  await work.ok(
    "git clone -q $GIT/force.git ../other && cd ../other && git commit -q --allow-empty -m theirs && git push -q",
  );
  await work.ok("git commit -q --allow-empty -m mine");
  assert.match(await work.fails("git push origin master"), /\[rejected\].*\(fetch first\)/);
  await work.ok("git fetch -q");
  assert.match(await work.fails("git push origin master"), /\[rejected\].*\(non-fast-forward\)/);
  const theirs = await work.ok("git rev-parse origin/master");
  assert.match(
    await work.fails(`git push --force-with-lease=master:$(git rev-parse HEAD) origin master`),
    /stale info/,
  );
  await work.ok(`git push -q --force-with-lease=master:${theirs} origin master`);
  assert.equal(await assertReplicas(cluster, "force"), `${await work.ok("git rev-parse HEAD")} refs/heads/master`);
  await work.ok("git push -q -f origin HEAD~1:master");
  assert.equal(await assertReplicas(cluster, "force"), `${await work.ok("git rev-parse HEAD~1")} refs/heads/master`);
});

test("settings of a repository deny non-fast-forwards and deletes, with git's words", async () => {
  const work = await workingCopy("denied");
  await work.ok("git commit -q --allow-empty -m two && git push -q origin master HEAD:topic HEAD:refs/tags/t");
  const set = async (body: Readonly<Record<string, boolean>>): Promise<void> => {
    assert.equal((await cluster.api("PATCH", "/api/repos/denied", body)).status, 200);
  };
  await set({ denyNonFastForwards: true, denyDeletes: true });
  const before = await refsOfRemote(work, cluster.repo("denied"));
  assert.match(await work.fails("git push -f origin HEAD~1:topic"), /remote rejected.*non-fast-forward/);
  assert.match(await work.fails("git push origin :topic"), /remote rejected.*deletion prohibited/);
  assert.match(await work.fails("git push origin :refs/tags/t"), /deletion prohibited/);
  assert.equal(await refsOfRemote(work, cluster.repo("denied")), before);
  await work.ok("git commit -q --allow-empty -m three && git push -q origin HEAD:topic HEAD:new");
  await set({ denyNonFastForwards: false, denyDeletes: false });
  await work.ok("git push -q -f origin HEAD~1:topic && git push -q origin :topic");
  await assertReplicas(cluster, "denied");
});

test("without --atomic each ref stands alone; with it one bad ref refuses all", async () => {
  const work = await workingCopy("atomic");
  await work.ok("git push -q origin HEAD:refs/heads/d && git commit -q --allow-empty -m two");
  const before = await assertReplicas(cluster, "atomic");
  const refused = await work.fails("git push --atomic origin HEAD:good HEAD:d/below HEAD:master");
  assert.match(refused, /d\/below/);
  assert.match(refused, /atomic/);
  assert.equal(await assertReplicas(cluster, "atomic"), before);
  const partly = await work.fails("git push origin HEAD:good HEAD:d/below HEAD:master");
  assert.match(partly, /\[new branch\]\s+HEAD -> good/);
  assert.match(partly, /\[remote rejected\] HEAD -> d\/below \(.*(?:exists|conflict|lock).*\)/);
  const head = await work.ok("git rev-parse HEAD");
  const refs = await assertReplicas(cluster, "atomic");
  assert.ok(refs.includes(`${head} refs/heads/good`) && refs.includes(`${head} refs/heads/master`), refs);
  assert.ok(!refs.includes("d/below"));
  await work.ok("git push -q --atomic origin HEAD:one HEAD:two :good");
  assert.match(await assertReplicas(cluster, "atomic"), /refs\/heads\/one\n.*refs\/heads\/two/);
});

test("push options are accepted", async () => {
  const work = await workingCopy("options");
  await work.ok("git commit -q --allow-empty -m two && git push -q -o ci.skip -o 'topic=a b' origin master");
  await work.ok("git push -q -o only-a-delete origin HEAD:gone && git push -q -o x origin :gone");
  await assertReplicas(cluster, "options");
});

test("thousands of refs in one push, and deleted in one", async () => {
  await cluster.create("many-refs");
  const terminal = cluster.terminal();
  await makeHistory(terminal, "source.git", { commits: 20, branches: 3000, tags: 1000 });
  const source = terminal.in("source.git");
  await source.ok("git push -q $GIT/many-refs.git 'refs/*:refs/*'");
  assert.equal(
    await assertReplicas(cluster, "many-refs"),
    await source.ok("git for-each-ref --format='%(objectname) %(refname)'"),
  );
  // git itself takes a minute for thousands of refspecs: so without naming them.
  await source.ok("git for-each-ref --format='delete %(refname)' refs/heads/b | git update-ref --stdin");
  await source.ok("git push -q --mirror $GIT/many-refs.git");
  assert.equal((await assertReplicas(cluster, "many-refs")).split("\n").length, 1001);
});

test("a push of what is there already, a second ref to it, a push of nothing", async () => {
  const work = await workingCopy("nothing-new");
  assert.match((await work.run("git push origin master")).stderr, /Everything up-to-date/);
  await work.ok("git push -q origin HEAD:refs/heads/same");
  assert.equal((await cluster.show("nothing-new")).generation, 2);
  await work.ok("git push -q --porcelain origin HEAD:refs/heads/same");
  assert.equal((await cluster.show("nothing-new")).generation, 2);
  await assertReplicas(cluster, "nothing-new");
});

test("--dry-run changes nothing", async () => {
  const work = await workingCopy("dry-run");
  await work.ok("git commit -q --allow-empty -m two && git push -q --dry-run origin master");
  assert.equal((await cluster.show("dry-run")).generation, 1);
});

test("a push from a shallow clone", async () => {
  const work = await workingCopy("shallow-push");
  await work.ok("for i in 1 2 3 4 5; do git commit -q --allow-empty -m $i; done; git push -q origin master");
  await work.ok("git clone -q --depth 2 $GIT/shallow-push.git ../shallow");
  const shallow = work.in("../shallow");
  await shallow.ok("git commit -q --allow-empty -m 'from the shallow one' && git push -q origin master");
  await assertReplicas(cluster, "shallow-push", { commits: [await shallow.ok("git rev-parse HEAD")] });
  await work.ok("git pull -q && git log -1 --format=%s | grep 'from the shallow one'");
  // To a repository that lacks the history behind the cut, it is refused.
  await cluster.create("without-history");
  assert.match(await shallow.fails("git push $GIT/without-history.git master"), /shallow update not allowed/);
  assert.equal(await refsOfRemote(work, cluster.repo("without-history")), "");
});

test("sha256 repositories: push, clone, fetch, tags; a sha1 push is refused", async () => {
  await cluster.create("hash/sha256", { objectFormat: "sha256" });
  const terminal = cluster.terminal();
  await terminal.ok(`
    git init -q --object-format=sha256 work && cd work
    echo one > file && git add file && git commit -q -m one && git tag -a -m tag v1
    git push -q $GIT/hash/sha256.git master v1
  `);
  for (const version of [0, 1, 2]) {
    await terminal.ok(`git -c protocol.version=${version} clone -q $GIT/hash/sha256.git clone-${version}`);
    assert.match(await terminal.ok(`git -C clone-${version} rev-parse HEAD`), /^[0-9a-f]{64}$/);
  }
  await terminal.ok(
    "cd work && git commit -q --allow-empty -m two && git push -q $GIT/hash/sha256.git master && git -C ../clone-2 pull -q",
  );
  assert.equal(await terminal.ok("git -C clone-2 log -1 --format=%s"), "two");
  await assertReplicas(cluster, "hash/sha256");
  await terminal.ok(
    "git clone -q $GIT/hash/sha256.git again && git init -q sha1 && git -C sha1 commit -q --allow-empty -m x",
  );
  await terminal.fails("git -C sha1 push $GIT/hash/sha256.git master:other");
  // What a clone of an empty one gets depends on the git that clones: the same as from a repository of its own.
  await cluster.create("hash/empty256", { objectFormat: "sha256" });
  await terminal.ok(`
    git clone -q $GIT/hash/empty256.git empty
    git init -q --bare --object-format=sha256 own.git && git clone -q "file://$PWD/own.git" own
  `);
  assert.equal(
    await terminal.ok("git -C empty rev-parse --show-object-format"),
    await terminal.ok("git -C own rev-parse --show-object-format"),
  );
});

test("the default branch cannot be deleted by accident", async () => {
  const work = await workingCopy("current-branch");
  assert.match(await work.fails("git push origin :master"), /deletion of the current branch prohibited/);
  assert.match(await assertReplicas(cluster, "current-branch"), /refs\/heads\/master/);
});

test("deep directories, symbolic links, executables, an empty file, a large one", async () => {
  const work = await workingCopy("files");
  await work.ok(`
    d=$(printf 'deep/%.0s' {1..60}) && mkdir -p $d && echo x > $d/file
    ln -s file link && echo '#!/bin/sh' > run && chmod +x run && : > empty
    head -c 20000000 /dev/urandom > large && seq 1 200000 > lines
    git add . && git commit -q -m files && git push -q origin master
    git clone -q $GIT/files.git ../clone && diff -r --exclude=.git . ../clone
  `);
  await assertReplicas(cluster, "files");
});
