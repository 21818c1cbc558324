import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { after, before, test } from "node:test";
import { systemClock } from "../base/clock.ts";
import { createLogger } from "../base/log.ts";
import { Git } from "./git.ts";
import { feed } from "./git-streams.ts";
import { until } from "./testing/node-api-client.ts";
import { git as plainGit } from "./testing/source-repository.ts";

const directory = mkdtempSync(join(tmpdir(), "gitmesh-git-"));
const repository = join(directory, "r.git");
const large = randomBytes(100_000_000);
let git: Git;
let blob: string;

/** Processes that work in the directory, as /proc tells. */
function processesIn(path: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readlinkSync(`/proc/${pid}/cwd`) === path;
      } catch {
        return false;
      }
    })
    .map(Number);
}

function forkerOf(owner: Git): number {
  const pid = owner.processIds[1];
  assert.ok(pid !== undefined);
  return pid;
}

before(async () => {
  plainGit(directory, ["init", "-q", "--bare", repository]);
  git = await Git.start(createLogger("git", "silent"), systemClock);
});

after(async () => {
  await git.close();
  assert.deepEqual(processesIn(repository), []);
  rmSync(directory, { recursive: true, force: true });
});

test("100 MB go in and come out again, whole", async () => {
  const run = await git.run({
    args: ["-c", "core.compression=0", "hash-object", "-w", "--stdin"],
    directory: repository,
  });
  const [fed, output, exit] = await Promise.all([
    feed(run.stdin, Readable.from([large.subarray(0, 7), large.subarray(7)], { objectMode: false })),
    Readable.from(run.stdout).toArray(),
    run.exit,
  ]);
  assert.ok(fed);
  assert.equal(exit.code, 0);
  blob = Buffer.concat(output as Buffer[])
    .toString()
    .trim();
  const content = await git.capture({ args: ["cat-file", "blob", blob], directory: repository }, "", 200_000_000);
  assert.ok(content.equals(large));
});

test("a hundred at once, each with its own input and output", async () => {
  const answers = await Promise.all(
    Array.from({ length: 100 }, async (_value, index) => {
      const input = `content ${index}`;
      const oid = await git.capture({ args: ["hash-object", "-w", "--stdin"], directory: repository }, input);
      const args = ["cat-file", "blob", oid.toString().trim()];
      return (await git.capture({ args, directory: repository })).toString() === input;
    }),
  );
  assert.ok(answers.every(Boolean));
});

test("what git said stays whole when it ends without reading all of its input", async () => {
  for (let round = 0; round < 20; round += 1) {
    const { code, stdout } = await git.attempt(
      { args: ["rev-parse", "--git-dir"], directory: repository },
      large.subarray(0, 2_000_000),
    );
    assert.equal(code, 0);
    assert.equal(stdout.toString().trim(), ".");
  }
});

test("git sees nothing of the server's environment", async () => {
  const args = ["-c", "alias.environment=!env", "environment"];
  const seen = (await git.capture({ args, directory: repository, config: { "x.y": "z" } })).toString();
  assert.doesNotMatch(seen, /^(?:USER|SHELL|PWD_|NODE_|npm_)/m);
  assert.match(seen, /^HOME=\/nonexistent$/m);
  assert.match(seen, /^GIT_CONFIG_GLOBAL=\/dev\/null$/m);
});

test("an abort ends git and all that it started", async () => {
  const abort = new AbortController();
  const args = ["-c", "alias.wait=!sleep 1000 & sleep 1000", "wait"];
  const run = await git.run({ args, directory: repository, signal: abort.signal });
  await until("its children run", () => processesIn(repository).length >= 3);
  abort.abort();
  assert.equal((await run.exit).code, null);
  await until("all are gone", () => processesIn(repository).length === 0);
  await assert.rejects(git.run({ args, directory: repository, signal: abort.signal }));
});

test("output over the limit is refused, and git ends", async () => {
  const run = git.capture({ args: ["cat-file", "blob", blob], directory: repository }, "", 1_000_000);
  await assert.rejects(run, /said more than 1000000 bytes/);
  await until("it is gone", () => processesIn(repository).length === 0);
});

test("a git that is not there, or a directory, is an error of that run alone", async () => {
  const { code, stderr } = await git.attempt({
    args: ["version"],
    directory: join(directory, "absent"),
    outside: true,
  });
  assert.equal(code, null);
  assert.match(stderr, /ENOENT/);
  assert.match((await git.capture({ args: ["version"], directory, outside: true })).toString(), /^git version/);
});

test("standard error is bounded", async () => {
  const texts: string[] = [];
  const args = ["-c", "alias.loud=!head -c 20000000 /dev/zero | tr '\\0' x >&2; echo the end >&2", "loud"];
  const run = await git.run({ args, directory: repository, onStderr: (text) => texts.push(text) });
  const { stderr } = await run.exit;
  assert.ok(stderr.length <= 16_384);
  assert.match(stderr, /the end\s*$/);
  assert.ok(texts.join("").length < 2_000_000);
});

test("when the process that forks dies, its gits die, and another one takes over", async () => {
  const other = await Git.start(createLogger("git", "silent"), systemClock);
  const own = join(directory, "own.git");
  plainGit(directory, ["init", "-q", "--bare", own]);
  try {
    const run = await other.run({ args: ["-c", "alias.wait=!sleep 1000", "wait"], directory: own });
    await until("it runs", () => processesIn(own).length >= 2);
    const dead = forkerOf(other);
    process.kill(dead, "SIGKILL");
    assert.equal((await run.exit).code, null);
    await until("its git is gone", () => processesIn(own).length === 0);
    await until("another one forks", () => other.processIds.length === 2 && forkerOf(other) !== dead);
    assert.match((await other.capture({ args: ["version"], directory: own })).toString(), /^git version/);
  } finally {
    await other.close();
  }
});

test("closing ends every git, and leaves no file", async () => {
  const other = await Git.start(createLogger("git", "silent"), systemClock);
  const own = join(directory, "close.git");
  plainGit(directory, ["init", "-q", "--bare", own]);
  writeFileSync(join(own, "x"), "");
  const run = await other.run({ args: ["-c", "alias.wait=!sleep 1000", "wait"], directory: own });
  await until("it runs", () => processesIn(own).length >= 2);
  const arguments_ = readFileSync(`/proc/${forkerOf(other)}/cmdline`, "utf8").split("\0");
  await other.close();
  assert.equal((await run.exit).code, null);
  assert.deepEqual(processesIn(own), []);
  const pairs = arguments_.find((argument) => argument.startsWith(join(tmpdir(), "gitmesh-")));
  assert.ok(pairs !== undefined && !readdirSync(tmpdir()).some((name) => join(tmpdir(), name) === pairs));
});
