/** A controller dies while a repository is created, changed or deleted. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { callApi } from "../support/api.ts";
import { waitFor } from "../support/wait.ts";
import type { CrashTest, Verdict } from "./crash-test.ts";
import type { Scene } from "./scene.ts";

const controller = "controller-1";

/** The status, or undefined when the controller died before it answered. */
export async function statusOf(
  scene: Scene,
  method: string,
  path: string,
  body?: unknown,
): Promise<number | undefined> {
  return await callApi(`${scene.cluster.url}${path}`, method, body).then(
    ({ status }) => status,
    () => undefined,
  );
}

export function create(there: "none" | "whole" | "acknowledged"): (scene: Scene) => Promise<Verdict> {
  return async (scene) => {
    const name = `${scene.name}-new`;
    const path = `/api/repos/${name}`;
    assert.equal(await statusOf(scene, "POST", path), there === "acknowledged" ? 201 : undefined);
    return async () => {
      if (there === "none") {
        assert.equal(await statusOf(scene, "GET", path), 404);
        assert.equal(await statusOf(scene, "POST", path), 201);
      }
      assert.equal(await statusOf(scene, "POST", path), 409);
      scene.moveTo(name);
    };
  };
}

const createAt = (point: string, there: "none" | "whole"): CrashTest => ({
  crashes: [{ server: controller, point }],
  act: create(there),
});

export const createTests: readonly CrashTest[] = [
  createAt("create.node-made", "none"),
  createAt("create.node-made:3", "none"),
  createAt("create.replicas-made", "none"),
  createAt("create.rows-written", "none"),
  createAt("create.committed", "whole"),
  {
    ...createAt("create.node-taken-back", "none"),
    // One node alone is too few.
    whileDown: async ({ cluster }) => {
      for (const node of ["node-2", "node-3"]) await cluster.kill(node);
    },
  },
];

export function rename(there: "none" | "whole"): (scene: Scene) => Promise<Verdict> {
  return async (scene) => {
    const [from, to] = [scene.name, `${scene.name}-renamed`];
    assert.equal(await statusOf(scene, "PATCH", `/api/repos/${from}`, { name: to }), undefined);
    return async () => {
      const statuses = [
        await statusOf(scene, "GET", `/api/repos/${from}`),
        await statusOf(scene, "GET", `/api/repos/${to}`),
      ];
      assert.deepEqual(statuses, there === "none" ? [200, 404] : [404, 200]);
      if (there === "whole") scene.name = to;
    };
  };
}

export function changeDefaultBranch(there: "none" | "whole" | "acknowledged"): (scene: Scene) => Promise<Verdict> {
  return async (scene) => {
    const status = await statusOf(scene, "PATCH", `/api/repos/${scene.name}`, { defaultBranch: "topic" });
    assert.equal(status, there === "acknowledged" ? 200 : undefined);
    return async () => {
      assert.equal((await scene.view()).defaultBranch, there === "none" ? "master" : "topic");
    };
  };
}

const at = (point: string, act: (scene: Scene) => Promise<Verdict>): CrashTest => ({
  crashes: [{ server: controller, point }],
  act,
});

export const updateTests: readonly CrashTest[] = [
  at("update.rows-written", rename("none")),
  at("update.committed", rename("whole")),
  at("update.node-told", rename("whole")),
  at("update.node-told", changeDefaultBranch("whole")),
  at("update.rows-written", changeDefaultBranch("none")),
  {
    ...at("update.committed", changeDefaultBranch("whole")),
    // It misses the new default branch, and the controller dies before it tells anybody.
    whileDown: ({ cluster }) => cluster.kill("node-3"),
  },
];

/** Deleted means: not found, and moved aside on every node, as it can be made anew. */
export function remove(there: "none" | "whole" | "acknowledged"): (scene: Scene) => Promise<Verdict> {
  return async (scene) => {
    const path = `/api/repos/${scene.name}`;
    const view = await scene.view();
    assert.equal(await statusOf(scene, "DELETE", path), there === "acknowledged" ? 204 : undefined);
    return async () => {
      assert.equal(await statusOf(scene, "GET", path), there === "none" ? 200 : 404);
      if (there === "none") return;
      await untilAside(scene, view, scene.cluster.nodeNames());
      await scene.cluster.create(scene.name);
      scene.moveTo(scene.name);
    };
  };
}

/** Waits until these nodes have no copy in place any more. */
export async function untilAside(scene: Scene, view: { readonly id: string }, nodes: readonly string[]): Promise<void> {
  await waitFor(
    () => {
      const left = nodes.filter((node) => existsSync(scene.cluster.replicaDirectory(node, view)));
      assert.deepEqual(left, []);
      return true;
    },
    { what: `${scene.name} to be moved aside on ${nodes.join(", ")}` },
  );
}

export const deleteTests: readonly CrashTest[] = [
  at("delete.rows-deleted", remove("none")),
  at("delete.committed", remove("whole")),
  at("delete.node-told", remove("whole")),
];
