/** A node dies while a push is staged or applied on it: the client is told ok all the same. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CrashTest } from "./crash-test.ts";
import { hideCommit, importInto, pushBranches, pushChanges, pushManyBranches, pushOnHidden } from "./pushes.ts";
import type { Scene } from "./scene.ts";

const at = (point: string, node: number, act = pushChanges("acknowledged")): CrashTest => ({
  crashes: [{ server: `node-${node}`, point }],
  act,
});

export const stageTests: readonly CrashTest[] = [
  at("stage.quarantine-made", 1),
  at("stage.indexed", 2),
  at("stage.pack-kept", 2, importInto("acknowledged", "node-2")),
  at("stage.checked", 3),
  at("quarantine.file-moved", 1),
  at("quarantine.file-moved:2", 2),
  at("quarantine.moved", 3),
  at("quarantine.synced", 1),
  at("quarantine.discarded", 2),
  { ...at("fetch-tips.fetched", 3, pushOnHidden("acknowledged")), prepare: hideCommit },
  { ...at("quarantine.moved", 3, pushOnHidden("acknowledged")), prepare: hideCommit },
];

/** What a killed git leaves, and what blocks the next one. */
async function leaveLeftovers(scene: Scene): Promise<void> {
  const directory = await scene.directory("node-2");
  mkdirSync(join(directory, "objects/tmp_objdir-incoming-left/pack"), { recursive: true });
  for (const file of ["objects/tmp_objdir-incoming-left/pack/tmp_pack_left", "objects/pack/tmp_idx_left"]) {
    writeFileSync(join(directory, file), "half a file");
  }
  await lockRefs(scene);
}

async function lockRefs(scene: Scene): Promise<void> {
  const directory = await scene.directory("node-2");
  for (const file of ["refs/heads/master.lock", "packed-refs.lock", "HEAD.lock", "gitmesh.json.new"]) {
    writeFileSync(join(directory, file), "");
  }
}

export const applyTests: readonly CrashTest[] = [
  at("apply.begun", 1),
  at("refs.lock-written", 3, pushBranches("acknowledged")),
  at("refs.one-written", 1, pushBranches("acknowledged")),
  at("refs.one-written:2", 2, pushBranches("acknowledged")),
  at("refs.part-written", 2),
  at("refs.written", 1),
  at("refs.packed", 2, pushManyBranches("acknowledged")),
  at("apply.refs-written", 3),
  at("file.written", 1),
  at("file.renamed", 2),
  at("apply.recorded", 3),
  // The lock appears when the replica is open already: by the time it is found, nobody works on the refs.
  {
    crashes: [{ server: "node-2", point: "refs.unblocked" }],
    act: async (scene) => {
      await scene.push("so that the replica is open");
      await lockRefs(scene);
      return await pushChanges("acknowledged")(scene);
    },
  },
  { ...at("leftovers.one-removed", 2), prepare: leaveLeftovers },
  { ...at("leftovers.one-removed:6", 2), prepare: leaveLeftovers },
  { ...at("leftovers.refs-unlocked", 2), prepare: leaveLeftovers },
];
