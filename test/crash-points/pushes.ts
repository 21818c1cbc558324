/** Pushes that crash tests make, and what must have become of them. */
import assert from "node:assert/strict";
import type { Scene } from "./scene.ts";
import type { Verdict } from "./crash-test.ts";

/** "none" and "whole": without an answer, but known by where the crash was. */
export type Effect = "acknowledged" | "none" | "whole";

/**
 * One transaction of each kind of change: a branch moves, one is deleted, another is made in the directory of the deleted
 * one's name, an annotated tag is made.
 */
export function pushChanges(effect: Effect): (scene: Scene) => Promise<Verdict> {
  return async (scene) => {
    const old = await scene.refs();
    await scene.commit("pushed at a crash");
    await scene.work.ok("git tag -m tagged v1");
    const push = `git push -q ${scene.url} HEAD:refs/heads/master :refs/heads/topic HEAD:refs/heads/topic/one v1`;
    return judged(scene, effect, old, push, await refsAfter(scene));
  };
}

async function refsAfter(scene: Scene): Promise<string> {
  const head = await scene.head();
  const tag = await scene.work.ok("git rev-parse refs/tags/v1");
  return [`${head} refs/heads/master`, `${head} refs/heads/topic/one`, `${tag} refs/tags/v1`].join("\n");
}

/** So many branches that a node packs its refs. */
export function pushManyBranches(effect: Effect): (scene: Scene) => Promise<Verdict> {
  return async (scene) => {
    const old = await scene.refs();
    await scene.commit("many branches");
    const head = await scene.head();
    const names = Array.from({ length: 120 }, (_, index) => `refs/heads/many/${String(index).padStart(3, "0")}`);
    const push = `git push -q ${scene.url} ${names.map((name) => `HEAD:${name}`).join(" ")}`;
    const wanted = [...old.split("\n"), ...names.map((name) => `${head} ${name}`)];
    return judged(scene, effect, old, push, sortedByName(wanted));
  };
}

/** A push whose pack rests on a commit that only some replicas have: the others fetch it from them. */
export function pushOnHidden(effect: Effect): (scene: Scene) => Promise<Verdict> {
  return async (scene) => {
    const old = await scene.refs();
    const head = await scene.head();
    const push = `git push -q ${scene.url} HEAD:refs/heads/hidden`;
    return judged(scene, effect, old, push, sortedByName([...old.split("\n"), `${head} refs/heads/hidden`]));
  };
}

/** Pushes, and gives what is to be found after healing. The client then does what clients do: it pushes again. */
async function judged(scene: Scene, effect: Effect, old: string, push: string, wanted: string): Promise<Verdict> {
  const outcome = await scene.work.run(push, { limitMs: 30_000 });
  if (effect === "acknowledged") assert.equal(outcome.code, 0, outcome.stderr);
  else assert.notEqual(outcome.code, 0, "a controller that is dead answered");
  const head = await scene.head();
  return async () => {
    assert.equal(await scene.refs(), effect === "none" ? old : wanted);
    if (effect === "none") await scene.work.ok(push);
    assert.equal(await scene.refs(), wanted);
    scene.commits.push(head);
  };
}

function sortedByName(lines: readonly string[]): string {
  return lines.toSorted((one, other) => (one.slice(41) < other.slice(41) ? -1 : 1)).join("\n");
}
