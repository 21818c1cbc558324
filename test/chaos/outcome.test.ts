/** What is concluded from a push's words must never be more than they say: real git, and a server's answers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { temporaryDirectory } from "../support/temp.ts";
import { Terminal } from "../support/terminal.ts";
import { outcomeOf } from "./git-client.ts";

const ref = "refs/heads/x";
const oid = "a".repeat(40);

test("words of git and of servers", () => {
  const rejected = (reason: string): string =>
    `To http://host/git/r.git\n!\t${oid}:${ref}\t[remote rejected] (${reason})\n`;
  const cases: [outcome: string, code: number, stdout: string, stderr: string][] = [
    ["ok", 0, `To http://host/git/r.git\n*\t${oid}:${ref}\t[new branch]\nDone\n`, ""],
    ["ok", 0, `To http://host/git/r.git\n-\t:${ref}\t[deleted]\nDone\n`, ""],
    ["mismatch", 1, `To http://host/git/r.git\n!\t${oid}:${ref}\t[rejected] (stale info)\n`, "error: failed to push"],
    ["mismatch", 1, rejected("reference already exists"), ""],
    ["mismatch", 1, rejected(`cannot lock ref: is at ${oid} but expected ${"b".repeat(40)}`), ""],
    ["mismatch", 1, rejected(`cannot lock ref: reference is missing but expected ${oid}`), ""],
    ["failed", 1, rejected("the metadata store does not answer; nothing has changed, try again"), ""],
    ["failed", 1, rejected("unpacker error"), ""],
    ["unknown", 1, rejected("the metadata store does not answer; fetch to see whether the push took effect"), ""],
    ["unknown", 1, rejected("an error of the server; try again"), ""],
    ["unknown", 1, `!\t${oid}:${ref}\t[remote failure] (remote failed to report status)\n`, ""],
    [
      "unknown",
      1,
      "",
      "error: RPC failed; curl 52 Empty reply from server\nfatal: the remote end hung up unexpectedly\n",
    ],
    ["unknown", 137, "", "(killed after 30000 ms)"],
    ["failed", 128, "", "fatal: unable to access 'http://host/git/r.git/': Empty reply from server\n"],
    // Another ref's line says nothing about this one.
    ["unknown", 1, `*\t${oid}:refs/heads/other\t[new branch]\n`, ""],
  ];
  for (const [outcome, code, stdout, stderr] of cases) {
    assert.equal(outcomeOf(ref, code, stdout, stderr), outcome, `${stdout}${stderr}`);
  }
});

test("real git on a real repository", async () => {
  const directory = temporaryDirectory();
  try {
    const terminal = new Terminal(directory.path);
    await terminal.ok("git init -q --bare remote.git && git init -q work");
    const work = terminal.in("work");
    const [one = "", two = ""] = (
      await work.ok("for i in 1 2; do git commit -q --allow-empty -m $i && git rev-parse HEAD; done")
    ).split("\n");
    const push = async (from: string, to: string): Promise<string> => {
      const lease = `--force-with-lease=${ref}:${from}`;
      const { code, stdout, stderr } = await work.run(`git push --porcelain ${lease} ../remote.git ${to}:${ref}`);
      return outcomeOf(ref, code, stdout, stderr);
    };
    assert.equal(await push("", one), "ok");
    assert.equal(await push("", two), "mismatch");
    assert.equal(await push(two, one), "failed", "it is there already");
    assert.equal(await push(one, two), "ok");
    assert.equal(await push(one, ""), "mismatch");
    assert.equal(await push(two, ""), "ok");
    assert.equal(await push(two, ""), "mismatch");
    await work.ok("rm -rf ../remote.git");
    assert.equal(await push("", one), "unknown");
  } finally {
    directory.remove();
  }
});
