/** A controller or a node dies while a replica is filled, and around the lease and the registration of nodes. */
import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "../support/wait.ts";
import type { CrashTest } from "./crash-test.ts";
import { statusOf, untilAside } from "./repository-tests.ts";
import type { Scene } from "./scene.ts";

/** A node catches up on a push that it missed, and dies. */
const catchUpAt = (point: string, node: string, whileDown?: (scene: Scene) => Promise<void>): CrashTest => ({
  crashes: [{ server: node, point }],
  prepare: async (scene) => {
    await scene.cluster.kill(node);
    await scene.push(`without ${node}`);
  },
  ...(whileDown === undefined ? {} : { whileDown }),
});

/** A ref that names an object which is not there: none of its refs vouch for anything. */
async function breakRef(scene: Scene, node: string): Promise<void> {
  writeFileSync(join(await scene.directory(node), "refs/heads/topic"), `${"1".repeat(40)}\n`);
}

export const catchUpTests: readonly CrashTest[] = [
  catchUpAt("catch-up.created", "node-1"),
  catchUpAt("catch-up.created", "node-2", async (scene) => {
    rmSync(await scene.directory("node-2"), { recursive: true });
  }),
  catchUpAt("catch-up.unrecorded", "node-3", (scene) => breakRef(scene, "node-3")),
  catchUpAt("refs.cleared", "node-1", (scene) => breakRef(scene, "node-1")),
  catchUpAt("catch-up.fetched", "node-2"),
  catchUpAt("quarantine.moved", "node-3"),
  catchUpAt("catch-up.objects-moved", "node-1"),
  catchUpAt("describe.head-written", "node-2"),
  catchUpAt("refs.written", "node-3"),
  catchUpAt("catch-up.refs-set", "node-1"),
  catchUpAt("catch-up.recorded", "node-2"),
];

/** A node comes back while the controller is down, and the controller dies when it has it catch up. */
const repairAt = (point: string): CrashTest => ({
  crashes: [{ server: "controller-1", point }],
  prepare: async (scene) => {
    await scene.cluster.kill("node-2");
    await scene.push("without node-2");
  },
  whileDown: async ({ cluster }) => cluster.servers.start("node-2"),
});

/** One replica less is wanted: the controller dies when it takes one away. */
const removeAt = (point: string): CrashTest => {
  let before: readonly string[] = [];
  return {
    crashes: [{ server: "controller-1", point }],
    act: async (scene) => {
      const view = await scene.view();
      before = await scene.nodes();
      await scene.cluster.api("PATCH", `/api/repos/${scene.name}`, { replicas: 2 });
      return async () => {
        await waitFor(async () => (await scene.nodes()).length === 2, { what: "two replicas" });
        const left = await scene.nodes();
        await untilAside(
          scene,
          view,
          before.filter((node) => !left.includes(node)),
        );
      };
    },
  };
};

export const repairTests: readonly CrashTest[] = [
  repairAt("replica-state.row-written"),
  repairAt("repair.filling"),
  repairAt("repair.filled"),
  repairAt("promote.row-written"),
  repairAt("repair.promoted"),
  removeAt("remove.row-deleted"),
  removeAt("remove.committed"),
  removeAt("remove.node-told"),
  { crashes: [{ server: "controller-1", point: "lease.row-written" }] },
  { crashes: [{ server: "controller-1", point: "lease.taken" }] },
  {
    crashes: [{ server: "controller-1", point: "lease.released" }],
    act: async ({ cluster }) => {
      const leads = async (): Promise<boolean> =>
        JSON.stringify((await cluster.api("GET", "/api/cluster")).body).includes('"leader":true');
      await waitFor(leads, { what: "the lease" });
      cluster.servers.terminate("controller-1");
      return async () => {};
    },
  },
  registerAt("register.rows-written"),
  registerAt("register.committed"),
  nodeRemovalTest(),
];

function registerAt(point: string): CrashTest {
  return {
    crashes: [{ server: "controller-1", point }],
    act: async ({ cluster }) => {
      await cluster.kill("node-3");
      cluster.servers.start("node-3");
      return async () => {};
    },
  };
}

/** One node more, which has nothing, is gone and to be forgotten. */
function nodeRemovalTest(): CrashTest {
  const removal = async (scene: Scene): Promise<string> => {
    const url = scene.cluster.nodeUrl("node-4");
    const found = (await scene.cluster.nodes()).find((node) => node.url === url);
    return `/api/nodes/${found?.id ?? "missing"}?force=true`;
  };
  return {
    crashes: [{ server: "controller-1", point: "node-removal.rows-deleted" }],
    prepare: async ({ cluster }) => {
      await cluster.start("node-4");
      await cluster.kill("node-4");
      await cluster.waitNodeState("node-4", "DEAD");
    },
    act: async (scene) => {
      await scene.cluster.waitNodeState("node-4", "DEAD");
      assert.equal(await statusOf(scene, "DELETE", await removal(scene)), undefined);
      return async () => {
        await scene.cluster.waitNodeState("node-4", "DEAD");
        assert.equal(await statusOf(scene, "DELETE", await removal(scene)), 204);
        assert.equal((await scene.cluster.nodes()).length, 3);
      };
    },
  };
}
