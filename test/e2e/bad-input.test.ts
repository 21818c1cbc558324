/** Requests that are wrong: a clear error, nothing changed, nothing lost, no node blamed. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { badPacks, malformedLists } from "../support/bad-pushes.ts";
import { startCluster } from "../support/cluster.ts";
import { refsOfRemote, writeRandomFile } from "../support/git.ts";
import { pkt, pktLines, pushBody } from "../support/pkt-line.ts";
import { rawHttp, rawPost, type RawAnswer } from "../support/raw-http.ts";
import { assertUnharmed } from "../support/unharmed.ts";
import type { Terminal } from "../support/terminal.ts";

const settings = {
  GITMESH_PACK_BYTES_MAX: "2000000",
  GITMESH_COMMANDS_MAX: "100",
  GITMESH_FETCH_REQUEST_BYTES_MAX: "100000",
};
const cluster = await startCluster({ env: settings });
after(() => cluster.stop());

const path = "/git/target.git";
let work: Terminal;
let refs = "";
let head = "";
/** A commit that the repository does not have, as a whole pack. */
let oid = "";
let pack = Buffer.alloc(0);

before(async () => {
  await cluster.create("target");
  const terminal = cluster.terminal();
  await terminal.ok("git init -q work && cd work && git remote add origin $GIT/target.git");
  work = terminal.in("work");
  await work.ok(
    "echo 1 > file && git add . && git commit -q -m one && git push -q origin master HEAD:refs/heads/dir/file HEAD:refs/tags/v1",
  );
  head = await work.ok("git rev-parse HEAD");
  await work.ok("seq 1 2000 > file && git commit -q -a -m two && git rev-parse HEAD > ../oid");
  await work.ok("printf '%s\\n^%s\\n' $(git rev-parse HEAD HEAD~1) | git pack-objects -q --revs --stdout > ../pack");
  oid = await terminal.ok("cat oid");
  pack = readFileSync(join(terminal.directory, "pack"));
});
beforeEach(async () => {
  refs = await refsOfRemote(work, cluster.repo("target"));
});
afterEach(() => assertUnharmed(cluster, "target", refs));

async function push(body: Uint8Array, headers: Readonly<Record<string, string>> = {}): Promise<RawAnswer> {
  const type = { "Content-Type": "application/x-git-receive-pack-request" };
  return await rawHttp(cluster.url, rawPost(`${path}/git-receive-pack`, body, { ...type, ...headers }));
}

async function fetchPack(
  body: string | Uint8Array,
  headers: Readonly<Record<string, string>> = {},
): Promise<RawAnswer> {
  const type = { "Content-Type": "application/x-git-upload-pack-request" };
  return await rawHttp(cluster.url, rawPost(`${path}/git-upload-pack`, body, { ...type, ...headers }));
}

/** The report of a push of one or more refs. */
async function report(body: Uint8Array): Promise<string[]> {
  const answer = await push(body);
  assert.equal(answer.status, 200, answer.body);
  return pktLines(answer.body);
}

test("the pack of these tests is one that would be taken", async () => {
  const made = [{ new: oid, ref: "refs/heads/fine" }];
  assert.deepEqual(await report(pushBody(made, pack)), ["unpack ok", "ok refs/heads/fine"]);
  assert.deepEqual(await report(pushBody([{ old: oid, ref: "refs/heads/fine" }], Buffer.alloc(0))), [
    "unpack ok",
    "ok refs/heads/fine",
  ]);
});

test("malformed pkt-lines and commands are 400 with a sentence", async () => {
  for (const { what, body } of malformedLists(oid)) {
    const answer = await push(Buffer.concat([body, pack]));
    assert.equal(answer.status, 400, `${what}: ${answer.status} ${answer.body}`);
    assert.match(answer.body, /\w+ \w+/, what);
  }
});

test("packs that are truncated, corrupt or none are refused in the report", async () => {
  // Objects of the fine pack are in the object store by now, so other content is pushed.
  await work.ok("seq 1 3000 > file && git commit -q -a -m three");
  await work.ok("git rev-parse HEAD | git pack-objects -q --revs --stdout > ../pack3");
  const other = readFileSync(join(work.directory, "../pack3"));
  for (const { what, body } of badPacks(await work.ok("git rev-parse HEAD"), other)) {
    const answer = await push(body);
    if (answer.status === 400) continue;
    assert.equal(answer.status, 200, `${what}: ${answer.status} ${answer.body}`);
    const lines = pktLines(answer.body);
    assert.match(lines[0] ?? "", /^unpack (?!ok$).+/, `${what}: ${lines.join("|")}`);
    assert.match(lines[1] ?? "", /^ng refs\/heads\/bad .+/, `${what}: ${lines.join("|")}`);
  }
});

test("a pack that lacks objects is refused, wherever in the graph they are", async () => {
  await work.ok("mkdir -p sub && echo new-$RANDOM > sub/blob && git add . && git commit -q -m missing");
  for (const missing of ["HEAD:sub/blob", "HEAD:sub", "HEAD^{tree}", "HEAD"]) {
    await work.ok(`
      { git rev-list --objects HEAD ^HEAD~1 | cut -d' ' -f1 | grep -v $(git rev-parse ${missing}); } > ../list
      git pack-objects -q --stdout < ../list > ../lacking
    `);
    const lacking = readFileSync(join(work.directory, "../lacking"));
    const lines = await report(
      pushBody([{ new: await work.ok("git rev-parse HEAD"), ref: "refs/heads/bad" }], lacking),
    );
    assert.match(lines.join("|"), /ng refs\/heads\/bad .+/, `without ${missing}: ${lines.join("|")}`);
    assert.ok(!lines.some((line) => line.startsWith("ok ")), lines.join("|"));
  }
  const nowhere = "1234567890".repeat(4);
  assert.match(
    (await report(pushBody([{ new: nowhere, ref: "refs/heads/bad" }], pack))).join("|"),
    /ng refs\/heads\/bad/,
  );
});

test("ref names that git forbids are refused one by one, the others stand", async () => {
  const names = [
    "refs/heads/a..b",
    "refs/heads/.hidden",
    "refs/heads/a.lock",
    "refs/heads/a~1",
    "refs/heads/a^",
    "refs/heads/a:b",
  ];
  names.push(
    "refs/heads/a?",
    "refs/heads/a*",
    "refs/heads/a[",
    "refs/heads/a\\b",
    "refs/heads/a b",
    "refs/heads/a@{1}",
    "refs/heads//a",
  );
  names.push(
    "refs/heads/a/",
    "refs/heads/a.",
    "refs/heads/\u0001",
    "refs/heads/\u007f",
    "heads/a",
    "HEAD",
    "refs/heads/../../x",
    "/etc/passwd",
  );
  names.push("refs/heads/a.lock/b", "refs/../config", `refs/heads/${"x".repeat(300)}`, "refs", "refs/");
  for (const name of names) {
    const lines = await report(pushBody([{ new: oid, ref: name }], pack));
    assert.match(lines.join("|"), /\|ng .* funny refname$/, `${JSON.stringify(name)}: ${lines.join("|")}`);
  }
  const mixed = await report(
    pushBody(
      [
        { new: oid, ref: "refs/heads/a..b" },
        { new: oid, ref: "refs/heads/good" },
      ],
      pack,
    ),
  );
  assert.deepEqual(mixed.slice(1), ["ng refs/heads/a..b funny refname", "ok refs/heads/good"]);
  const atomic = await report(
    pushBody(
      [
        { new: oid, ref: "refs/heads/a..b" },
        { new: oid, ref: "refs/heads/good2" },
      ],
      pack,
      "report-status atomic",
    ),
  );
  assert.ok(!atomic.some((line) => line.startsWith("ok ")), atomic.join("|"));
  await work.ok("git push -q origin :good");
});

test("conflicts of files and directories, wrong old values, repeated refs, no commit on a branch", async () => {
  const cases: [RegExp, Parameters<typeof pushBody>[0]][] = [
    [/ng refs\/heads\/dir .*(?:exists|conflict|lock)/, [{ new: oid, ref: "refs/heads/dir" }]],
    [/ng refs\/heads\/master\/x .*(?:exists|conflict|lock)/, [{ new: oid, ref: "refs/heads/master/x" }]],
    [/ng refs\/heads\/master .+/, [{ new: oid, ref: "refs/heads/master" }]],
    [/ng refs\/heads\/master .+/, [{ old: oid, new: oid, ref: "refs/heads/master" }]],
    [/ng refs\/heads\/none .+/, [{ old: head, new: oid, ref: "refs/heads/none" }]],
    [/ng refs\/heads\/master .+/, [{ old: oid, ref: "refs/heads/master" }]],
    [
      /ng refs\/heads\/tree .*non-commit/,
      [{ new: await work.ok(`git rev-parse ${head}^{tree}`), ref: "refs/heads/tree" }],
    ],
    [
      /ng refs\/heads\/twice .+\|ng refs\/heads\/twice .+/,
      [
        { new: oid, ref: "refs/heads/twice" },
        { new: head, ref: "refs/heads/twice" },
      ],
    ],
  ];
  for (const [expected, commands] of cases) {
    const lines = await report(pushBody(commands, pack));
    assert.match(lines.join("|"), expected);
    assert.ok(!lines.some((line) => line.startsWith("ok ")), lines.join("|"));
  }
});

test("more commands than allowed: 413", async () => {
  const many = Array.from({ length: 101 }, (_, index) => ({ new: head, ref: `refs/heads/many/${index}` }));
  const answer = await push(pushBody(many, pack));
  assert.equal(answer.status, 413, answer.body);
  await work.ok("for i in $(seq 1 101); do echo HEAD~1:refs/heads/many/$i; done > ../specs");
  assert.match(await work.fails("git push origin $(cat ../specs)"), /413|updates/);
});

test("a pack beyond the limit is refused while it streams, and git shows why", async () => {
  writeRandomFile(work, "large", 6_000_000);
  await work.ok("git checkout -q -b large && git add large && git commit -q -m large");
  for (const buffer of ["1048576", "100000000"]) {
    const said = await work.fails(`git -c http.postBuffer=${buffer} push origin large`);
    assert.match(said, /exceeds maximum|too large|larger than|413/i);
  }
  await work.ok("git checkout -q master");
});

test("fetches that are wrong are told in git's protocol or with 400", async () => {
  const v2 = { "Git-Protocol": "version=2" };
  const nowhere = "1234567890".repeat(4);
  const cases: [string, string | Buffer, Readonly<Record<string, string>>][] = [
    ["letters for a length", "zzzz", v2],
    ["half a line", "0014command", v2],
    ["an unknown command", Buffer.concat([pkt("command=frobnicate"), Buffer.from("0000")]), v2],
    ["two commands", Buffer.concat([pkt("command=ls-refs"), pkt("command=fetch"), Buffer.from("0000")]), v2],
    ["no command", Buffer.concat([pkt("agent=x"), Buffer.from("0000")]), v2],
    [
      "another object format",
      Buffer.concat([pkt("command=ls-refs"), pkt("object-format=sha256"), Buffer.from("00010000")]),
      v2,
    ],
    [
      "an unknown object",
      Buffer.concat([
        pkt("command=fetch"),
        Buffer.from("0001"),
        pkt(`want ${nowhere}`),
        pkt("done"),
        Buffer.from("0000"),
      ]),
      v2,
    ],
    [
      "no object id",
      Buffer.concat([
        pkt("command=fetch"),
        Buffer.from("0001"),
        pkt("want everything"),
        pkt("done"),
        Buffer.from("0000"),
      ]),
      v2,
    ],
    [
      "an unknown filter",
      Buffer.concat([
        pkt("command=fetch"),
        Buffer.from("0001"),
        pkt(`want ${head}`),
        pkt("filter x:y"),
        pkt("done"),
        Buffer.from("0000"),
      ]),
      v2,
    ],
    [
      "an unknown object in v0",
      Buffer.concat([pkt(`want ${nowhere} side-band-64k`), Buffer.from("0000"), pkt("done")]),
      {},
    ],
    ["no want in v0", Buffer.concat([pkt("hello"), Buffer.from("0000"), pkt("done")]), {}],
  ];
  const untold: string[] = [];
  for (const [what, body, headers] of cases) {
    const answer = await fetchPack(body, headers);
    const isTold =
      answer.status === 400 || (answer.status === 200 && /ERR |error|not our ref|unknown/i.test(answer.body));
    if (!isTold) untold.push(`${what}: ${answer.status} ${JSON.stringify(answer.body)}`);
  }
  assert.deepEqual(untold, []);
  const large = Buffer.concat(Array.from({ length: 4000 }, () => pkt(`have ${nowhere}\n`)));
  assert.equal((await fetchPack(large)).status, 413);
});
