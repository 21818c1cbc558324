/**
 * The metadata store is restored from an old backup, with pushes, a creation and a deletion since then: the replicas
 * that are ahead are noticed, nothing is written on top, and the administrator takes over what the replicas have. A file
 * for each engine runs these tests.
 */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { callApi, type Problem } from "../support/api.ts";
import type { Cluster } from "../support/cluster.ts";
import { refsOfRemote } from "../support/git.ts";
import { assertReplicas } from "../support/replicas.ts";
import type { Separate } from "../support/servers.ts";
import type { Terminal } from "../support/terminal.ts";
import { waitFor } from "../support/wait.ts";

/** A cluster whose store can be saved and put back, controllers included. */
export interface Restorable {
  readonly cluster: Cluster<Separate>;
  save(): Promise<void>;
  restore(): Promise<void>;
  stop(): Promise<void>;
}

interface Adoptable {
  readonly name: string;
  readonly kind: string;
  readonly storeGeneration: number;
  readonly seenGeneration: number;
  readonly nodes: readonly string[];
}

interface Plan {
  readonly digest: string;
  readonly problem: string;
  readonly refs: readonly { readonly name: string; readonly kind: string }[];
  readonly copies: readonly { readonly url: string; readonly after: string }[];
}

export const restoreSettings = { GITMESH_HEARTBEAT_INTERVAL_MS: "500", GITMESH_REPAIR_INTERVAL_MS: "300" };

export function testRestore(name: string, start: () => Promise<Restorable>): void {
  let restorable: Restorable;
  let cluster: Cluster<Separate>;
  let work: Terminal;
  let refsOfAhead = "";
  let refsOfNew = "";
  const commits: string[] = [];

  before(async () => {
    restorable = await start();
    ({ cluster } = restorable);
    for (const repository of ["kept", "ahead", "split", "deleted"]) await cluster.create(repository);
    const terminal = cluster.terminal();
    await terminal.ok(`
      git init -q work && cd work
      git commit -q --allow-empty -m first && git branch old && git branch moved
      for name in kept ahead split deleted; do git push -q $GIT/$name.git master old moved; done
    `);
    work = terminal.in("work");
    for (const repository of ["kept", "ahead", "split", "deleted"]) await cluster.waitReady(repository);
    await restorable.save();
    await work.ok(`
      git commit -q --allow-empty -m second && git push -q $GIT/ahead.git master
      git commit -q --allow-empty -m third && git tag -a -m one v1 && git branch -f moved
      git push -q $GIT/ahead.git master moved v1 :old
      git push -q $GIT/split.git master
    `);
    commits.push(await work.ok("git rev-parse master"), await work.ok("git rev-parse master~1"));
    await cluster.create("team/new", { defaultBranch: "main" });
    await work.ok("git push -q $GIT/team/new.git master:main v1");
    assert.equal((await cluster.api("DELETE", "/api/repos/deleted")).status, 204);
    for (const repository of ["ahead", "split", "team/new"]) await cluster.waitReady(repository);
    refsOfAhead = await refsOfRemote(work, cluster.repo("ahead"));
    refsOfNew = await refsOfRemote(work, cluster.repo("team/new"));
    await makeCopyDiffer("node-3", "split");
    await restorable.restore();
    await cluster.waitServing();
  });
  after(() => restorable.stop());

  /** The refs of one replica are changed behind the product's back, its generation is not. */
  async function makeCopyDiffer(node: string, repository: string): Promise<void> {
    const directory = cluster.replicaDirectory(node, await cluster.show(repository));
    await work.ok(`git --git-dir='${directory}' update-ref refs/heads/master refs/heads/old`);
  }

  async function adoptable(): Promise<ReadonlyMap<string, Adoptable>> {
    const { body } = await cluster.api("GET", "/api/adoptions");
    return new Map((body as Adoptable[]).map((item) => [item.name, item]));
  }

  async function planOf(repository: string): Promise<Plan> {
    const { status, body } = await cluster.api("GET", `/api/adoptions/${repository}`);
    assert.equal(status, 200, JSON.stringify(body));
    return body as Plan;
  }

  test(`${name}: what was lost is noticed and listed`, async () => {
    const found = await waitFor(
      async () => {
        const items = await adoptable();
        const names = [...items.keys()].toSorted();
        assert.deepEqual(names, ["ahead", "split", "team/new"]);
        return items;
      },
      { what: "the nodes to tell what they have" },
    );
    const ahead = found.get("ahead");
    assert.deepEqual([ahead?.kind, ahead?.storeGeneration, ahead?.seenGeneration], ["behind", 1, 3]);
    const orphan = found.get("team/new");
    assert.deepEqual([orphan?.kind, orphan?.storeGeneration, orphan?.nodes.length], ["orphan", -1, 3]);
    const { code, stdout } = await cluster.cli("repo", "adopt");
    assert.equal(code, 0);
    assert.match(stdout, /^ahead +replicas are ahead +1 +3 /m);
    assert.match(stdout, /^team\/new +not in the metadata store +- +1 /m);
    for (const node of ["node-1", "node-2", "node-3"])
      assert.equal(await cluster.statusOn(node, "ahead"), "QUARANTINED");
  });

  test(`${name}: nothing is written on top of what was lost, nor read as if it had never been; others go on`, async () => {
    await work.ok("git commit -q --allow-empty -m later");
    for (const push of [
      "git push -f $GIT/ahead.git HEAD:later",
      "git push $GIT/ahead.git :old",
      "git clone $GIT/ahead.git ../no",
    ]) {
      assert.match(
        await work.fails(push),
        /remote: the metadata store has lost pushes .* gitmesh repo adopt ahead/,
        push,
      );
    }
    for (const service of ["git-receive-pack", "git-upload-pack"]) {
      const answer = await fetch(`${cluster.repo("ahead")}/info/refs?service=${service}`);
      assert.equal(answer.status, 409);
      await answer.arrayBuffer();
    }
    assert.equal((await cluster.show("ahead")).generation, 1);
    await work.ok("git push -q $GIT/kept.git HEAD:later");
    await assertReplicas(cluster, "kept");
  });

  test(`${name}: the command shows exactly what it will do, and asks`, async () => {
    const { code, stdout, stderr } = await cluster.cli("repo", "adopt", "ahead");
    assert.equal(code, 1);
    assert.match(stderr, /Adopting needs --yes/);
    assert.match(stdout, /has ahead at generation 1; its replicas:/);
    assert.match(stdout, /Adopting takes over generation 3; the repository goes on at generation 1003\./);
    assert.match(stdout, /Refs added: 1, changed: 2, removed: 1\./);
    assert.match(stdout, /^added +refs\/tags\/v1 /m);
    assert.match(stdout, /^changed +refs\/heads\/master +\w{12} -> \w{12}$/m);
    assert.match(stdout, /^removed +refs\/heads\/old /m);
    assert.equal(stdout.match(/ READY /g)?.length, 3, stdout);
    assert.equal((await cluster.show("ahead")).generation, 1, "nothing was done");
    const other = await cluster.api("POST", "/api/adoptions/ahead", { digest: "another" });
    assert.deepEqual([other.status, (other.body as Problem).code], [409, "adoption-changed"]);
    const nothing = await planOf("kept");
    assert.match(nothing.problem, /nothing to adopt/);
    const refused = await cluster.api("POST", "/api/adoptions/kept", { digest: nothing.digest });
    assert.deepEqual([refused.status, (refused.body as Problem).code], [409, "not-adoptable"]);
  });

  test(`${name}: adopted, the repository is as it was, on all replicas, and pushes go on`, async () => {
    const { code, stdout, stderr } = await cluster.cli("repo", "adopt", "ahead", "--yes");
    assert.equal(code, 0, stdout + stderr);
    assert.match(stdout, /Adopted ahead at generation 1003: 3 of 3 replicas READY/);
    assert.equal(await refsOfRemote(work, cluster.repo("ahead")), refsOfAhead);
    assert.equal(await assertReplicas(cluster, "ahead", { commits }), refsOfAhead);
    await work.ok("git push -q $GIT/ahead.git HEAD:master && git push -q $GIT/ahead.git HEAD:old");
    assert.equal((await cluster.show("ahead")).generation, 1005);
    await assertReplicas(cluster, "ahead", { commits: [...commits, await work.ok("git rev-parse HEAD")] });
    await work.ok("git clone -q $GIT/ahead.git ../ahead && git -C ../ahead rev-parse v1");
  });

  test(`${name}: a repository that only the nodes know is adopted by its name`, async () => {
    const { code, stdout, stderr } = await cluster.cli("repo", "adopt", "team/new", "--yes");
    assert.equal(code, 0, stdout + stderr);
    assert.match(stdout, /team\/new is not in the metadata store/);
    assert.equal(await assertReplicas(cluster, "team/new", { commits }), refsOfNew);
    assert.equal((await cluster.show("team/new")).generation, 1001);
    await work.ok("git clone -q $GIT/team/new.git ../new && git -C ../new rev-parse --verify refs/heads/main");
    await work.ok("git push -q $GIT/team/new.git HEAD:main");
    await assertReplicas(cluster, "team/new");
  });

  test(`${name}: where the newest copies differ a person chooses; the others catch up`, async () => {
    const { code, stdout, stderr } = await cluster.cli("repo", "adopt", "split", "--yes");
    assert.equal(code, 1, stdout);
    assert.match(stderr, /Nothing was changed: the newest copies of split differ: choose one with --from/);
    assert.equal((await cluster.show("split")).generation, 1);
    const chosen = await cluster.cli("repo", "adopt", "split", "--from", cluster.nodeUrl("node-1"), "--yes");
    assert.equal(chosen.code, 0, chosen.stdout + chosen.stderr);
    assert.match(chosen.stdout, /Adopted split at generation 1002/);
    const refs = await assertReplicas(cluster, "split", { commits });
    assert.match(refs, new RegExp(`^${commits[0]} refs/heads/master$`, "m"));
    const { id } = await cluster.show("split");
    const aside = readdirSync(join(cluster.dataDirectory, "node-3", "aside"));
    assert.ok(
      aside.some((entry) => entry.startsWith(id)),
      "the copy that disagreed is kept",
    );
    assert.deepEqual([...(await adoptable()).keys()], []);
  });

  test(`${name}: what was deleted since the backup is back by name only, and can be deleted again`, async () => {
    assert.match((await planOf("deleted")).problem, /no repository server that can be reached has a usable copy/);
    assert.match(await work.fails("git push $GIT/deleted.git HEAD:x"), /remote: only 0 of the 2 complete replicas/);
    assert.equal((await cluster.api("DELETE", "/api/repos/deleted")).status, 204);
    assert.equal((await callApi(`${cluster.url}/api/repos/deleted`, "GET")).status, 404);
  });
}
