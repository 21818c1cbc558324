/** Clients that share no code with git: libgit2, dulwich, isomorphic-git. Clone, commit, push, fetch with each. */
import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import isomorphicGit from "isomorphic-git";
import http from "isomorphic-git/http/node";
import { startCluster } from "../support/cluster.ts";
import { makeHistory } from "../support/git.ts";
import { assertReplicas } from "../support/replicas.ts";
import { needs, pythonWith } from "../support/requirement.ts";
import type { Terminal } from "../support/terminal.ts";

const cluster = await startCluster();
after(() => cluster.stop());

/** A repository with some history, and a working copy of git's own in `work`. */
async function prepared(name: string): Promise<Terminal> {
  await cluster.create(name);
  const terminal = cluster.terminal();
  await makeHistory(terminal, "source.git", { commits: 60, branches: 5, tags: 3 });
  await terminal.ok(`git -C source.git push -q --mirror $GIT/${name}.git && git clone -q $GIT/${name}.git work`);
  return terminal.with({ REPO: cluster.repo(name) });
}

/** What the other client pushed is on every replica, and git reads it; then git pushes for the other to fetch. */
async function exchanged(terminal: Terminal, name: string, subject: string): Promise<void> {
  const refs = await assertReplicas(cluster, name);
  assert.match(refs, /refs\/heads\/from-client/);
  await terminal.ok("git -C work pull -q --ff-only");
  assert.equal(await terminal.ok("git -C work log -1 --format=%s"), subject);
  assert.equal(await terminal.ok("cat work/added.txt"), "added");
  await terminal.ok("cd work && git commit -q --allow-empty -m 'from git' && git push -q origin master");
}

const pygit2 = pythonWith("pygit2");
test("libgit2 (pygit2)", needs("python3-pygit2", pygit2 !== undefined), async () => {
  const terminal = (await prepared("libgit2")).with({ PYTHON: pygit2 ?? "python3" });
  await terminal.ok("$PYTHON -", {
    input: `
import os, pygit2
url = os.environ["REPO"]
repo = pygit2.clone_repository(url, "clone")
assert len(list(repo.walk(repo.head.target))) == 60
assert sorted(repo.references)[:1] and "refs/tags/t/0" in repo.references
open("clone/added.txt", "w").write("added\\n")
repo.index.add("added.txt")
repo.index.write()
who = pygit2.Signature("Ada", "ada@example.org")
commit = repo.create_commit("HEAD", who, who, "from libgit2", repo.index.write_tree(), [repo.head.target])
repo.create_reference("refs/heads/from-client", commit)
origin = repo.remotes["origin"]
origin.push(["refs/heads/master", "refs/heads/from-client"])
try:
    repo.create_reference("refs/heads/old", list(repo.walk(commit))[5].id)
    origin.push(["refs/heads/old:refs/heads/master"])
    raise SystemExit("a push that is no fast-forward was taken")
except pygit2.GitError as error:
    print(error)
try:
    pygit2.clone_repository(url.replace("libgit2", "nowhere"), "nowhere")
    raise SystemExit("cloned what is not there")
except Exception as error:
    print(error)
`,
  });
  await exchanged(terminal, "libgit2", "from libgit2");
  await terminal.ok("$PYTHON -", {
    input: `
import pygit2
repo = pygit2.Repository("clone")
origin = repo.remotes["origin"]
origin.fetch()
commit = repo[repo.references["refs/remotes/origin/master"].target]
assert commit.message == "from git\\n", commit.message
origin.push([":refs/heads/from-client"])
`,
  });
  assert.ok(!(await assertReplicas(cluster, "libgit2")).includes("from-client"));
});

const dulwich = pythonWith("dulwich");
test("dulwich", needs("python3-dulwich", dulwich !== undefined), async () => {
  const terminal = (await prepared("dulwich")).with({ PYTHON: dulwich ?? "python3" });
  await terminal.ok("env -u GIT_AUTHOR_DATE -u GIT_COMMITTER_DATE $PYTHON -", {
    input: `
import io, os
from dulwich import porcelain
from dulwich.errors import NotGitRepository
url = os.environ["REPO"]
out = io.BytesIO()
repo = porcelain.clone(url, "clone", errstream=out)
assert len(list(repo.get_walker())) == 60
open("clone/added.txt", "w").write("added\\n")
porcelain.add("clone", ["clone/added.txt"])
porcelain.commit("clone", message=b"from dulwich", author=b"Ada <ada@example.org>", committer=b"Ada <ada@example.org>")
porcelain.push("clone", url, ["refs/heads/master", "refs/heads/master:refs/heads/from-client"], outstream=out, errstream=out)
shallow = porcelain.clone(url, "shallow", depth=2, errstream=out)
assert len(list(shallow.get_walker())) == 2
try:
    porcelain.clone(url.replace("dulwich", "nowhere"), "nowhere", errstream=out)
    raise SystemExit("cloned what is not there")
except NotGitRepository as error:
    print(error)
`,
  });
  await exchanged(terminal, "dulwich", "from dulwich");
  await terminal.ok("env -u GIT_AUTHOR_DATE -u GIT_COMMITTER_DATE $PYTHON -", {
    input: `
import io, os
from dulwich import porcelain
from dulwich.repo import Repo
out = io.BytesIO()
result = porcelain.fetch("clone", os.environ["REPO"], outstream=out, errstream=out)
repo = Repo("clone")
assert repo[result.refs[b"refs/heads/master"]].message == b"from git\\n"
porcelain.push("clone", os.environ["REPO"], [":refs/heads/from-client"], outstream=out, errstream=out)
`,
  });
  assert.ok(!(await assertReplicas(cluster, "dulwich")).includes("from-client"));
});

test("isomorphic-git", async () => {
  const terminal = await prepared("isomorphic");
  const url = cluster.repo("isomorphic");
  const dir = join(terminal.directory, "clone");
  const author = { name: "Ada", email: "ada@example.org" };
  await isomorphicGit.clone({ fs, http, dir, url });
  assert.equal((await isomorphicGit.log({ fs, dir })).length, 60);
  fs.writeFileSync(join(dir, "added.txt"), "added\n");
  await isomorphicGit.add({ fs, dir, filepath: "added.txt" });
  await isomorphicGit.commit({ fs, dir, message: "from isomorphic-git", author });
  const pushed = await isomorphicGit.push({ fs, http, dir, remote: "origin", ref: "master" });
  assert.equal(pushed.ok, true);
  await isomorphicGit.push({ fs, http, dir, remote: "origin", ref: "master", remoteRef: "refs/heads/from-client" });
  await assert.rejects(
    isomorphicGit.clone({ fs, http, dir: `${dir}-2`, url: cluster.repo("nowhere") }),
    /404|Not ?Found/i,
  );
  const refs = await isomorphicGit.listServerRefs({ http, url, prefix: "refs/heads/", protocolVersion: 2 });
  assert.ok(refs.some(({ ref }) => ref === "refs/heads/from-client"));
  await exchanged(terminal, "isomorphic", "from isomorphic-git");
  const { fetchHead } = await isomorphicGit.fetch({ fs, http, dir, ref: "master", tags: true });
  const { commit } = await isomorphicGit.readCommit({ fs, dir, oid: fetchHead ?? "" });
  assert.equal(commit.message, "from git\n");
  await isomorphicGit.push({
    fs,
    http,
    dir,
    remote: "origin",
    ref: "master",
    remoteRef: "refs/heads/from-client",
    delete: true,
  });
  assert.ok(!(await assertReplicas(cluster, "isomorphic")).includes("from-client"));
});
