/** Pushes that crash tests make, and what must have become of them. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pushBody } from "../support/pkt-line.ts";
import type { Verdict } from "./crash-test.ts";
import type { Scene } from "./scene.ts";

/** "none" and "whole": without an answer, but known by where the crash was. */
export type Effect = "acknowledged" | "none" | "whole";

/**
 * One transaction with each kind of change: a branch moves, one is deleted, another is made in a directory of the deleted
 * one's name, an annotated tag is made.
 */
export function pushChanges(effect: Effect): (scene: Scene) => Promise<Verdict> {
  return async (scene) => {
    const old = await scene.refs();
    await scene.commit("pushed at a crash");
    await scene.work.ok("git tag -m tagged v1");
    const head = await scene.head();
    const tag = await scene.work.ok("git rev-parse refs/tags/v1");
    const wanted = [`${head} refs/heads/master`, `${head} refs/heads/topic/one`, `${tag} refs/tags/v1`].join("\n");
    const push = `git push -q ${scene.url} HEAD:refs/heads/master :refs/heads/topic HEAD:refs/heads/topic/one v1`;
    const outcome = await scene.work.run(push, { limitMs: 30_000 });
    assertAnswer(effect, outcome.code === 0, outcome.stderr);
    return verdict(scene, effect, old, wanted, async () => {
      await scene.work.ok(push);
    });
  };
}

/** A branch moves to a new commit and another begins there: what a replica writes without git. */
export function pushBranches(effect: Effect): (scene: Scene) => Promise<Verdict> {
  return async (scene) => {
    const old = await scene.refs();
    await scene.commit("on two branches");
    const head = await scene.head();
    const push = `git push -q ${scene.url} HEAD:refs/heads/master HEAD:refs/heads/new/branch`;
    const outcome = await scene.work.run(push, { limitMs: 30_000 });
    assertAnswer(effect, outcome.code === 0, outcome.stderr);
    const others = old.split("\n").filter((line) => !line.endsWith(" refs/heads/master"));
    const wanted = sortedByName([...others, `${head} refs/heads/master`, `${head} refs/heads/new/branch`]);
    return verdict(scene, effect, old, wanted, async () => {
      await scene.work.ok(push);
    });
  };
}

/** So many branches that a node packs its refs. */
export function pushManyBranches(effect: Effect): (scene: Scene) => Promise<Verdict> {
  return async (scene) => {
    const old = await scene.refs();
    await scene.commit("many branches");
    const head = await scene.head();
    const names = Array.from({ length: 120 }, (_, index) => `refs/heads/many/${String(index).padStart(3, "0")}`);
    const push = `git push -q ${scene.url} ${names.map((name) => `HEAD:${name}`).join(" ")}`;
    const outcome = await scene.work.run(push, { limitMs: 30_000 });
    assertAnswer(effect, outcome.code === 0, outcome.stderr);
    const wanted = sortedByName([...old.split("\n"), ...names.map((name) => `${head} ${name}`)]);
    return verdict(scene, effect, old, wanted, async () => {
      await scene.work.ok(push);
    });
  };
}

/** A new repository gets its history at once, so much that replicas take their index from one that is not on `node`. */
export function importInto(effect: Effect, node: string): (scene: Scene) => Promise<Verdict> {
  return async (scene) => {
    const { cluster, work } = scene;
    let name = "";
    for (
      let attempt = 1;
      name === "" || cluster.nodeUrl(node) === (await cluster.show(name)).primaryNode;
      attempt += 1
    ) {
      name = `${scene.name}-import-${attempt}`;
      await cluster.create(name);
    }
    await work.ok("head -c 3000000 /dev/urandom > large");
    await scene.commit("a large file");
    const push = `git push -q ${cluster.repo(name)} HEAD:refs/heads/master`;
    const outcome = await work.run(push, { limitMs: 30_000 });
    assertAnswer(effect, outcome.code === 0, outcome.stderr);
    scene.moveTo(name);
    const wanted = `${await scene.head()} refs/heads/master`;
    return verdict(scene, effect, "", wanted, async () => {
      await work.ok(push);
    });
  };
}

/** node-1 and node-2 have a commit that no ref reaches, as a broken-off push may leave; the working copy is at it. */
export async function hideCommit(scene: Scene): Promise<void> {
  await scene.commit("hidden");
  for (const node of ["node-1", "node-2"]) {
    const directory = await scene.directory(node);
    await scene.work.ok(
      `printf 'HEAD\\n^HEAD~1\\n' | git pack-objects -q --revs --stdout | git --git-dir='${directory}' index-pack --stdin`,
    );
  }
}

/** A push whose pack rests on the hidden commit: node-3 cannot use it, and fetches the objects from another. */
export function pushOnHidden(effect: Effect): (scene: Scene) => Promise<Verdict> {
  return async (scene) => {
    const old = await scene.refs();
    await scene.commit("on the hidden one");
    const head = await scene.head();
    await scene.work.ok("printf 'HEAD\\n^HEAD~1\\n' | git pack-objects -q --revs --thin --stdout > ../pack");
    const body = pushBody(
      [{ new: head, ref: "refs/heads/hidden" }],
      readFileSync(join(scene.work.directory, "../pack")),
    );
    const push = async (): Promise<string> => {
      const headers = { "content-type": "application/x-git-receive-pack-request" };
      return await (await fetch(`${scene.url}/git-receive-pack`, { method: "POST", headers, body })).text();
    };
    const answer = await push().catch(String);
    assertAnswer(effect, answer.includes("ok refs/heads/hidden"), answer);
    const wanted = sortedByName([...old.split("\n"), `${head} refs/heads/hidden`]);
    return verdict(scene, effect, old, wanted, async () => {
      assert.match(await push(), /ok refs\/heads\/hidden/);
    });
  };
}

function assertAnswer(effect: Effect, ok: boolean, said: string): void {
  assert.equal(ok, effect === "acknowledged", `answered: ${said}`);
}

/** What is to be found after healing. A client that got no answer does what clients do: it pushes again. */
function verdict(scene: Scene, effect: Effect, old: string, wanted: string, again: () => Promise<void>): Verdict {
  return async () => {
    assert.equal(await scene.refs(), effect === "none" ? old : wanted);
    if (effect === "none") await again();
    assert.equal(await scene.refs(), wanted);
    scene.commits.push(await scene.head());
  };
}

function sortedByName(lines: readonly string[]): string {
  return lines.toSorted((one, other) => (one.slice(41) < other.slice(41) ? -1 : 1)).join("\n");
}
