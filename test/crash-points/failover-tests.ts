/** A controller dies while a replica on a node that is gone is rebuilt on another one. There are four nodes. */
import assert from "node:assert/strict";
import { waitFor } from "../support/wait.ts";
import type { CrashTest } from "./crash-test.ts";
import { untilAside } from "./repository-tests.ts";
import type { Scene } from "./scene.ts";

/** The last of the nodes that have a replica is gone for good, as far as the cluster can tell. */
const failoverAt = (point: string): CrashTest => {
  let lost = "";
  return {
    crashes: [{ server: "controller-1", point }],
    prepare: async (scene) => {
      lost = (await scene.nodes()).at(-1) ?? "";
      await scene.cluster.kill(lost);
    },
    afterCrash: async (scene) => {
      await scene.cluster.start("controller-1");
      await untilMoved(scene, lost);
      assert.equal((await scene.nodes()).length, 3);
      // It returns: its copy is surplus.
      const view = await scene.view();
      await scene.cluster.start(lost);
      await untilAside(scene, view, [lost]);
    },
  };
};

async function untilMoved(scene: Scene, lost: string): Promise<void> {
  await waitFor(async () => !(await scene.nodes()).includes(lost), { what: `a successor of ${lost}`, limitMs: 60_000 });
  await scene.cluster.waitReady(scene.name, 3, 60_000);
}

export const failoverTests: readonly CrashTest[] = [
  failoverAt("failover.planned"),
  failoverAt("failover.row-written"),
  failoverAt("failover.placed"),
  failoverAt("repair.filled"),
  failoverAt("promote.row-written"),
  failoverAt("remove.row-deleted"),
  failoverAt("remove.committed"),
  orphanTest(),
];

/** A node returns with a copy that has a successor; the controller dies when it has it moved aside. */
function orphanTest(): CrashTest {
  let lost = "";
  return {
    crashes: [{ server: "controller-1", point: "orphan.moved-aside" }],
    prepare: async (scene) => {
      lost = (await scene.nodes()).at(-1) ?? "";
      await scene.cluster.kill(lost);
      await untilMoved(scene, lost);
    },
    act: async (scene) => {
      const view = await scene.view();
      scene.cluster.servers.start(lost);
      return () => untilAside(scene, view, [lost]);
    },
  };
}
