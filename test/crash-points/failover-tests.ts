/** A controller dies while a replica on a node that is gone is rebuilt on another one. There are four nodes. */
import assert from "node:assert/strict";
import { waitFor } from "../support/wait.ts";
import type { CrashTest } from "./crash-test.ts";
import { statusOf, untilAside } from "./repository-tests.ts";
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
  nodeRemovalTest(),
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

/** A fifth node that has nothing is gone and to be forgotten. */
function nodeRemovalTest(): CrashTest {
  const removal = async (scene: Scene): Promise<string> => {
    const url = scene.cluster.nodeUrl("node-5");
    const found = (await scene.cluster.nodes()).find((node) => node.url === url);
    return `/api/nodes/${found?.id ?? "missing"}?force=true`;
  };
  return {
    crashes: [{ server: "controller-1", point: "node-removal.rows-deleted" }],
    prepare: async ({ cluster }) => {
      await cluster.start("node-5");
      await cluster.kill("node-5");
      await cluster.waitNodeState("node-5", "DEAD");
    },
    act: async (scene) => {
      await scene.cluster.waitNodeState("node-5", "DEAD");
      assert.equal(await statusOf(scene, "DELETE", await removal(scene)), undefined);
      return async () => {
        await scene.cluster.waitNodeState("node-5", "DEAD");
        assert.equal(await statusOf(scene, "DELETE", await removal(scene)), 204);
        assert.equal((await scene.cluster.nodes()).length, 4);
      };
    },
  };
}
