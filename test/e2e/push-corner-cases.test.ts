/** Pushes that once were told the wrong thing. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startCluster } from "../support/cluster.ts";
import { pkt } from "../support/pkt-line.ts";
import { assertReplicas } from "../support/replicas.ts";
import type { Terminal } from "../support/terminal.ts";

let cluster: Awaited<ReturnType<typeof startCluster>>;

before(async () => {
  cluster = await startCluster();
});

after(async () => {
  await cluster.stop();
});

async function workingCopy(name: string): Promise<Terminal> {
  await cluster.create(name);
  const terminal = cluster.terminal();
  await terminal.ok(`
    git init -q work && cd work && git remote add origin $GIT/${name}.git
    echo one > file && git add file && git commit -q -m one && git push -q origin HEAD:refs/heads/master
  `);
  return terminal;
}

/** A push of commands alone, with an empty pack. */
async function pushCommands(name: string, ...commands: string[]): Promise<string> {
  const emptyPack = Buffer.from("5041434b0000000200000000029d08823bd8a8eab510ad6ac75c823cfd3ed31e", "hex");
  const lines = commands.map((command, index) => pkt(index === 0 ? `${command}\0report-status` : command));
  const answer = await fetch(`${cluster.url}/git/${name}.git/git-receive-pack`, {
    method: "POST",
    headers: { "content-type": "application/x-git-receive-pack-request" },
    body: Buffer.concat([...lines, Buffer.from("0000"), emptyPack]),
  });
  assert.equal(answer.status, 200);
  return answer.text();
}

test("a replace ref does not stand in for an object that is not there", async () => {
  const terminal = await workingCopy("replace");
  const real = (await terminal.ok("git -C work rev-parse HEAD")).trim();
  const ghost = "ab".repeat(20);
  const none = "0".repeat(40);
  assert.match(await pushCommands("replace", `${none} ${real} refs/replace/${ghost}`), /ok refs\/replace/);
  assert.match(await pushCommands("replace", `${none} ${ghost} refs/heads/ghost`), /ng refs\/heads\/ghost missing/);
  await terminal.ok("git clone -q --mirror $GIT/replace.git mirror");
  await assertReplicas(cluster, "replace");
});

test("a replace ref does not lift the refusal of non-fast-forwards", async () => {
  const terminal = await workingCopy("replace-policy");
  await cluster.api("PATCH", "/api/repos/replace-policy", { denyNonFastForwards: true });
  await terminal.ok(`
    cd work && git checkout -q --orphan other && git commit -q -m other
    git push -q origin $(git commit-tree -p master -m x HEAD^{tree}):refs/replace/$(git rev-parse HEAD)
  `);
  assert.match(await terminal.fails("git -C work push origin +HEAD:refs/heads/master"), /non-fast-forward/);
});

test("a delete goes through beside a create that is refused for its name", async () => {
  const terminal = await workingCopy("delete-beside");
  await terminal.ok("git -C work push -q origin HEAD:refs/heads/old");
  const said = await terminal.fails("git -C work push origin :refs/heads/old HEAD:refs/stash");
  assert.match(said, /\[deleted\]\s+old/);
  assert.match(said, /funny refname/);
});

test("deleting what is not there is no error, and takes no atomic push down", async () => {
  const terminal = await workingCopy("delete-nothing");
  await terminal.ok("git -C work push origin :refs/heads/nope");
  await terminal.ok("git -C work push --atomic origin :refs/heads/nope HEAD:refs/heads/new");
  assert.match(await assertReplicas(cluster, "delete-nothing"), /refs\/heads\/new/);
});

test("what git says of a fetch that cannot be is told as git says it", async () => {
  const terminal = await workingCopy("bad-fetch");
  for (const version of [0, 1, 2]) {
    const clone = `git -c protocol.version=${version} clone --shallow-exclude=nope $GIT/bad-fetch.git t${version}`;
    assert.match(await terminal.fails(clone), /deepen-not/);
  }
});

test("a store that forgot pushes, as after the restore of an old backup, does not go on silently", async () => {
  const terminal = await workingCopy("restored");
  const store = `${cluster.dataDirectory}/gitmesh.sqlite`;
  await cluster.servers.stop();
  await terminal.ok(`for file in '${store}'*; do cp "$file" "$file.backup"; done`);
  cluster.servers.start();
  await cluster.waitServing();
  await terminal.ok("cd work && git commit -q --allow-empty -m two && git push -q origin HEAD:refs/heads/master");
  await cluster.servers.stop();
  await terminal.ok(
    `rm '${store}' '${store}'-* || true; for file in '${store}'*.backup; do mv "$file" "\${file%.backup}"; done`,
  );
  cluster.servers.start();
  await cluster.waitServing();
  const { nodes } = await cluster.show("restored");
  assert.deepEqual(
    nodes.map(({ status }) => status),
    ["QUARANTINED", "QUARANTINED", "QUARANTINED"],
  );
  await terminal.fails("cd work && git commit -q --allow-empty -m three && git push -q origin +HEAD:refs/heads/master");
});
