/** Real input: this project's own history, and a repository of 20,000 commits and 5,000 refs. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { after, test } from "node:test";
import { startCluster } from "../support/cluster.ts";
import { makeHistory, refsOnDisk } from "../support/git.ts";
import { assertReplicas } from "../support/replicas.ts";
import { needs } from "../support/requirement.ts";

const cluster = await startCluster();
after(() => cluster.stop());

const root = join(import.meta.dirname, "../..");
const project = spawnSync("git", ["-c", "safe.directory=*", "-C", root, "rev-list", "--count", "HEAD"], {
  encoding: "utf8",
});
const hasHistory = project.status === 0;

test("this project's own history", needs("the project's own git history", hasHistory), async () => {
  const terminal = cluster.terminal().with({ ROOT: root });
  await cluster.create("project");
  // Through export and import, so that the history of a shallow checkout is a whole one too.
  await terminal.ok(`
    git init -q --bare source.git
    git -c safe.directory='*' -C "$ROOT" fast-export --signed-tags=strip --all | git -C source.git fast-import --quiet
    git -C source.git push -q --mirror $GIT/project.git
  `);
  const refs = await refsOnDisk(terminal, "source.git");
  assert.equal(await assertReplicas(cluster, "project"), refs);
  for (const version of [0, 2]) {
    await terminal.ok(`git -c protocol.version=${version} clone -q --mirror $GIT/project.git clone-${version}.git`);
    assert.equal(await refsOnDisk(terminal, `clone-${version}.git`), refs);
    await terminal.ok(`git -C clone-${version}.git fsck --no-progress`);
  }
  const commits = (await terminal.ok("git -C source.git rev-list --all --max-count=20")).split("\n");
  for (const commit of commits) assert.equal(await terminal.ok(`git -C clone-2.git cat-file -t ${commit}`), "commit");
});

test(
  "20,000 commits and 5,000 refs: pushed, cloned, compared ref by ref on every replica",
  { timeout: 600_000 },
  async () => {
    const terminal = cluster.terminal();
    await cluster.create("large");
    await makeHistory(terminal, "source.git", { commits: 20_000, branches: 4000, tags: 1000 });
    const source = terminal.in("source.git");
    await source.ok("git push -q --mirror $GIT/large.git", { limitMs: 300_000 });
    const refs = await refsOnDisk(terminal, "source.git");
    assert.equal(refs.split("\n").length, 5001);
    assert.equal(await assertReplicas(cluster, "large", { quick: true, limitMs: 120_000 }), refs);
    await terminal.ok("git clone -q --mirror $GIT/large.git clone.git", { limitMs: 300_000 });
    assert.equal(await refsOnDisk(terminal, "clone.git"), refs);
    assert.equal(await terminal.ok("git -C clone.git rev-list --all --count"), "20000");
    await terminal.ok("git -C clone.git fsck --no-progress --connectivity-only");
    // And goes on: one more commit, a thousand refs less.
    await terminal.ok(
      "git clone -q --single-branch $GIT/large.git work && cd work && git commit -q --allow-empty -m more && git push -q",
    );
    await source.ok("git fetch -q $GIT/large.git master && git update-ref refs/heads/master FETCH_HEAD");
    await source.ok("git for-each-ref --format='delete %(refname)' refs/tags | git update-ref --stdin");
    await source.ok("git push -q --mirror $GIT/large.git", { limitMs: 120_000 });
    const after = await assertReplicas(cluster, "large", { quick: true, limitMs: 120_000 });
    assert.equal(after.split("\n").length, 4001);
    assert.ok(after.includes(await terminal.ok("git -C work rev-parse HEAD")));
  },
);
