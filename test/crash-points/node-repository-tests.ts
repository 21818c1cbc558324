/** A node dies while it makes, changes or removes a replica; and when it starts. */
import assert from "node:assert/strict";
import type { CrashTest, Verdict } from "./crash-test.ts";
import { changeDefaultBranch, create, remove, statusOf } from "./repository-tests.ts";
import type { Scene } from "./scene.ts";

const at = (point: string, node: number, act?: (scene: Scene) => Promise<Verdict>): CrashTest => ({
  crashes: [{ server: `node-${node}`, point }],
  ...(act === undefined ? {} : { act }),
});

export const replicaTests: readonly CrashTest[] = [
  at("replica.copied", 1, create("acknowledged")),
  at("describe.config-written", 2, create("acknowledged")),
  at("replica.built", 3, create("acknowledged")),
  at("replica.renamed", 1, create("acknowledged")),
  at("replica.made", 2, create("acknowledged")),
  at("describe.config-written", 3, changeDefaultBranch("acknowledged")),
  at("describe.head-written", 1, changeDefaultBranch("acknowledged")),
  at("retire.moved", 2, remove("acknowledged")),
  at("retire.synced", 3, remove("acknowledged")),
];

/** Something is aside, and may go soon. */
async function deleteAnother(scene: Scene): Promise<Verdict> {
  const path = `/api/repos/${scene.name}-deleted`;
  assert.equal(await statusOf(scene, "POST", path), 201);
  assert.equal(await statusOf(scene, "DELETE", path), 204);
  return async () => {};
}

/** The node is down while a repository is deleted: it learns of it from the answer to its registration. */
async function deleteWithout(scene: Scene, node: string): Promise<void> {
  const path = `/api/repos/${scene.name}-deleted`;
  assert.equal(await statusOf(scene, "POST", path), 201);
  await scene.cluster.kill(node);
  assert.equal(await statusOf(scene, "DELETE", path), 204);
}

export const startTests: readonly CrashTest[] = [
  at("start.locked", 1),
  at("start.building-removed", 2),
  at("registration.inventory-taken", 3),
  { ...at("registration.answered", 1), prepare: (scene) => deleteWithout(scene, "node-1") },
  { ...at("retire.moved", 2), prepare: (scene) => deleteWithout(scene, "node-2") },
  at("purge.removed", 3, deleteAnother),
  // A new disk: another node at the same URL, to be refilled.
  { ...at("identity.made", 2), whileDown: ({ cluster }) => cluster.emptyDisk("node-2") },
  { ...at("file.written", 3), whileDown: ({ cluster }) => cluster.emptyDisk("node-3") },
];
