/**
 * Answers to fetches that are kept (src/controller/fetch-cache.ts) are those that git gives: byte for byte where it was
 * answered once, object for object otherwise, whatever happens to the repository and its replicas meanwhile.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, test } from "node:test";
import { startServers } from "../support/cluster.ts";
import { freshAnswer, objectsIn, packIn, postFetch, type FetchRequest } from "../support/fetch-request.ts";
import { makeHistory, refsOfRemote, writeRandomFile } from "../support/git.ts";
import { assertReplicas } from "../support/replicas.ts";
import { temporaryDirectory } from "../support/temp.ts";
import type { Terminal } from "../support/terminal.ts";
import { waitFor } from "../support/wait.ts";

const files = temporaryDirectory();
const cluster = await startServers({
  env: {
    GITMESH_FETCH_CACHE_DIRECTORY: files.path,
    GITMESH_REPAIR_INTERVAL_MS: "300",
  },
});
after(async () => {
  await cluster.stop();
  files.remove();
});
afterEach(() => cluster.heal());

/** Of one more repository with a history and an unrelated branch; `source.git` in the terminal has the same. */
async function history(
  name: string,
  { salt = "", replicas = 1 }: { readonly salt?: string; readonly replicas?: number } = {},
): Promise<{ terminal: Terminal; url: string; tips: string[] }> {
  const url = await cluster.create(name, { replicas });
  const terminal = cluster.terminal();
  await makeHistory(terminal, "source.git", { commits: 60, branches: 4, tags: 3, salt });
  await makeHistory(terminal, "other.git", { commits: 5, salt: `other ${salt}` });
  await terminal.ok(
    "cd source.git && git fetch -q ../other.git master:refs/heads/other && git push -q --mirror $GIT/" + name + ".git",
  );
  await cluster.waitReady(name, replicas);
  return {
    terminal,
    url,
    tips: (await terminal.ok("git -C source.git for-each-ref --format='%(objectname)'")).split("\n"),
  };
}

async function answered(url: string, request: FetchRequest): Promise<Buffer> {
  const { status, answer } = await postFetch(url, request);
  assert.equal(status, 200, answer.toString());
  return answer;
}

/** Answers that the controller keeps: files that it has open, without a name. */
function keptFiles(): number {
  const fds = `/proc/${cluster.pid("controller-1")}/fd`;
  return readdirSync(fds).filter((fd) => {
    try {
      return readlinkSync(join(fds, fd)).startsWith(`${files.path}/`);
    } catch {
      return false;
    }
  }).length;
}

test("what is kept is what git says: packs, shallow and partial ones, rounds of a negotiation", async () => {
  const { terminal, url, tips } = await history("kinds");
  const [old, orphan] = await Promise.all(
    ["master~20", "other"].map((name) => terminal.ok(`git -C source.git rev-parse ${name}`)),
  );
  assert.ok(old !== undefined && orphan !== undefined);
  const wants = [...new Set(tips)];
  const unknown = "1234567890".repeat(4);
  const kinds: readonly (readonly [what: string, request: Omit<FetchRequest, "version">, isPack: boolean])[] = [
    ["everything", { wants }, true],
    ["depth 1", { wants, args: ["deepen 1"] }, true],
    ["without blobs", { wants, args: ["filter blob:none"] }, true],
    ["a branch with its tags", { wants: [old], tags: true }, true],
    ["what is new since a commit", { wants, haves: [old] }, true],
    ["a round without a common commit", { wants, haves: [unknown], done: false }, false],
    ["a round with one, not yet enough", { wants, haves: [unknown, orphan], done: false }, false],
  ];
  const [directory] = (await cluster.replicaDirectories("kinds")).values();
  assert.ok(directory !== undefined);
  for (const version of [0, 2] as const) {
    for (const [what, kind, isPack] of kinds) {
      const request = { version, ...kind };
      const before = keptFiles();
      const at = await Promise.all(Array.from({ length: 6 }, () => answered(url, request)));
      const [first] = at;
      assert.ok(first !== undefined);
      // Those of v0 are not known to be whole.
      const isKept = isPack || version === 2;
      await waitFor(() => keptFiles() - before === (isKept ? 1 : 0), {
        what: `v${version}, ${what} to be kept or not`,
      });
      for (const answer of [...at, await answered(url, request)])
        assert.ok(answer.equals(first), `v${version}, ${what}: the same bytes`);
      const fresh = await freshAnswer(terminal, directory, request);
      if (isPack) {
        assert.equal(
          await objectsIn(terminal, packIn(first)),
          await objectsIn(terminal, packIn(fresh)),
          `v${version}, ${what}: the same objects`,
        );
      } else assert.equal(first.toString(), fresh.toString(), `v${version}, ${what}`);
    }
  }
});

test("with all nodes dead what is kept is still given, and no file is left of it by a kill -9", async () => {
  const { url, tips, terminal } = await history("kept");
  const request: FetchRequest = { version: 2, wants: [...new Set(tips)] };
  const first = await answered(url, request);
  for (const node of cluster.nodeNames()) await cluster.kill(node);
  assert.ok((await answered(url, request)).equals(first));
  assert.equal((await postFetch(url, { ...request, args: ["deepen 1"] })).status, 503);
  assert.ok(keptFiles() > 0);
  await cluster.kill("controller-1");
  assert.deepEqual(readdirSync(files.path), []);
  await cluster.heal();
  assert.equal(
    await objectsIn(terminal, packIn(await answered(url, request))),
    await objectsIn(terminal, packIn(first)),
  );
});

test("a repository's answers follow its new name, and are nobody else's: not of the next one with its name", async () => {
  const { url, tips } = await history("place", { salt: "first" });
  const request: FetchRequest = { version: 2, wants: [...new Set(tips)] };
  const first = await answered(url, request);
  assert.equal((await cluster.api("PATCH", "/api/repos/place", { name: "moved" })).status, 200);
  assert.equal((await postFetch(url, request)).status, 404);
  assert.ok((await answered(cluster.repo("moved"), request)).equals(first));
  const { tips: others } = await history("place", { salt: "second" });
  assert.match((await answered(url, request)).toString(), /ERR upload-pack: not our ref/);
  packIn(await answered(url, { ...request, wants: [...new Set(others)] }));
  assert.equal((await cluster.api("DELETE", "/api/repos/moved")).status, 204);
  assert.equal((await postFetch(cluster.repo("moved"), request)).status, 404);
  await cluster.create("moved");
  assert.match((await answered(cluster.repo("moved"), request)).toString(), /ERR upload-pack: not our ref/);
});

/** A repository of some large files, its one commit, and where a node has it. */
async function largeFiles(
  name: string,
  replicas: number,
): Promise<{ terminal: Terminal; url: string; request: FetchRequest; directory: string }> {
  const url = await cluster.create(name, { replicas });
  const terminal = cluster.terminal();
  await terminal.ok("git init -q work");
  for (const file of ["a", "b", "c", "d"]) writeRandomFile(terminal.in("work"), file, 400_000);
  await terminal.ok(`cd work && git add . && git commit -q -m large && git push -q ${url} master`);
  await cluster.waitReady(name, replicas);
  const request: FetchRequest = { version: 2, wants: [await terminal.ok("git -C work rev-parse master")] };
  const [directory] = (await cluster.replicaDirectories(name)).values();
  assert.ok(directory !== undefined);
  return { terminal, url, request, directory };
}

/** Replaces some bytes of the file; gives what undoes it. */
function rot(file: string, at: (bytes: Buffer) => number): () => void {
  const sound = readFileSync(file);
  const rotten = Buffer.from(sound);
  rotten.fill(0xff, at(sound), at(sound) + 100);
  const write = (bytes: Buffer): void => {
    rmSync(file);
    writeFileSync(file, bytes);
  };
  write(rotten);
  return () => write(sound);
}

test("what git gave up in the middle is not kept", async () => {
  const { terminal, url, request, directory } = await largeFiles("given-up", 1);
  const blob = await terminal.ok("git -C work rev-parse master:d");
  // Loose, and read when it is its turn to be sent.
  await terminal.ok(`
    cd '${directory}' && mv objects/pack/*.pack ../given-up.pack && rm -f objects/pack/*
    git unpack-objects -q < ../given-up.pack && rm ../given-up.pack && git config pack.window 0
  `);
  const mend = rot(join(directory, "objects", blob.slice(0, 2), blob.slice(2)), (bytes) => bytes.length - 1000);
  for (let time = 1; time <= 2; time += 1) {
    const { answer } = await postFetch(url, request);
    assert.throws(() => packIn(answer));
    assert.ok(answer.length > 400_000, `given up at ${answer.length}`);
  }
  mend();
  assert.equal(
    await objectsIn(terminal, packIn(await answered(url, request))),
    await terminal.ok(
      "git -C work cat-file --batch-all-objects --batch-check='%(objectname) %(objecttype) %(objectsize)'",
    ),
  );
});

test("rot that git copies without a look: who asks again gets the answer of another replica", async () => {
  const { terminal, url, request, directory } = await largeFiles("copied", 3);
  const packs = join(directory, "objects", "pack");
  const pack = readdirSync(packs).find((name) => name.endsWith(".pack"));
  rot(join(packs, pack ?? ""), (bytes) => bytes.length >> 1);
  for (let round = 1; round <= 2; round += 1) {
    let sound = 0;
    for (let turn = 0; turn < 3; turn += 1) {
      const answer = await answered(url, request);
      const { code } = await terminal.run(
        "rm -rf unpacked.git && git init -q --bare unpacked.git && git -C unpacked.git index-pack --stdin",
        { input: packIn(answer) },
      );
      if (code === 0) sound += 1;
    }
    assert.ok(sound >= 2, `${sound} of 3 were sound`);
  }
});

test("under pushes, deletes, renames and repacks every answer has exactly the objects that were asked for", async () => {
  const rounds = 6;
  const { terminal } = await history("busy/0", { replicas: 3 });
  const { id } = await cluster.show("busy/0");
  const work = terminal.in("source.git");
  await work.ok("git worktree add -q ../work master");
  let name = "busy/0";
  let over = false;

  /** A push each time, of a branch too; older branches go, the repository gets another name, a replica is repacked. */
  async function write(): Promise<void> {
    const tree = terminal.in("work");
    for (let round = 1; round <= rounds; round += 1) {
      const gone = round > 2 ? `:refs/heads/r/${round - 2}` : "";
      await tree.ok(`
        seq 1 ${round * 50} > round && git add round && git commit -q -m ${round}
        git branch r/${round}
        git push -q $GIT/${name}.git master r/${round} ${gone}
      `);
      if (round % 2 === 0) {
        const next = `busy/${round}`;
        assert.equal((await cluster.api("PATCH", `/api/repos/${name}`, { name: next })).status, 200);
        name = next;
      }
      if (round % 2 === 1) {
        const node = cluster.nodeNames()[round % 3] ?? "";
        await terminal.ok(`git -C '${cluster.replicaDirectory(node, { id })}' repack -q -A -d -f`);
      }
    }
  }

  let compared = 0;
  async function read(own: Terminal, version: 0 | 2, depth: "all" | 1): Promise<void> {
    for (let turn = 0; !over; turn += 1) {
      const url = cluster.repo(name);
      const listed = await own.run(`git ls-remote ${url} 'refs/heads/*'`);
      const tips = listed.stdout.split("\n").flatMap((line) => (line === "" ? [] : [line.slice(0, 40)]));
      const want = tips[turn % tips.length];
      // It has been renamed just now.
      if (want === undefined) continue;
      const request: FetchRequest = { version, wants: [want], args: depth === 1 ? ["deepen 1"] : [] };
      const answers = await Promise.all([postFetch(url, request), postFetch(url, request)]);
      const expected = await own.ok(
        `git --git-dir='${work.directory}' rev-list --objects --no-object-names ${depth === 1 ? "--no-walk" : ""} ${want} | sort`,
      );
      for (const { status, answer } of answers) {
        if (status === 404) continue;
        assert.equal(status, 200, answer.toString());
        const objects = await objectsIn(own, packIn(answer));
        assert.equal(objects.replaceAll(/ .*$/gm, ""), expected, `v${version} of ${want}`);
        compared += 1;
      }
    }
  }

  /** One repository after the other of the same name: the commits of those before are not there. */
  async function comeAndGo(own: Terminal): Promise<void> {
    const before: string[] = [];
    for (let number = 0; !over; number += 1) {
      const url = await cluster.create("again");
      await own.ok(`
        git init -q work-${number} && cd work-${number} && echo ${number} > f && git add f && git commit -q -m ${number}
        git push -q ${url} master
      `);
      const tip = await own.ok(`git -C work-${number} rev-parse HEAD`);
      for (let time = 0; time < 2; time += 1) packIn(await answered(url, { version: 2, wants: [tip] }));
      for (const old of before)
        assert.match((await answered(url, { version: 2, wants: [old] })).toString(), /not our ref/);
      before.push(tip);
      assert.equal((await cluster.api("DELETE", "/api/repos/again")).status, 204);
      assert.equal((await postFetch(url, { version: 2, wants: [tip] })).status, 404);
    }
  }

  await Promise.all([
    write().finally(() => (over = true)),
    read(cluster.terminal(), 2, "all"),
    read(cluster.terminal(), 0, 1),
    comeAndGo(cluster.terminal()),
  ]);
  assert.ok(compared >= 4, `only ${compared} answers were compared`);
  const refs = await refsOfRemote(terminal, cluster.repo(name));
  assert.equal(
    refs,
    await terminal.ok(
      "git -C source.git for-each-ref --format='%(objectname) %(refname)' | grep -v -E 'r/[1-4]$' | LC_ALL=C sort -k2",
    ),
  );
  await assertReplicas(cluster, name);
});
