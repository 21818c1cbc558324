/** A controller dies in the course of a push. */
import { crashOf, type CrashTest } from "./crash-test.ts";
import { hideCommit, pushChanges, pushOnHidden, type Effect } from "./pushes.ts";
import type { Scene } from "./scene.ts";

const at = (point: string, effect: Effect): CrashTest => ({
  crashes: [{ server: "controller-1", point }],
  act: pushChanges(effect),
});

/** All replicas are one generation behind: the controller died right after a commit. */
async function fallBehind(scene: Scene): Promise<void> {
  await crashOf(scene.cluster, { server: "controller-1", point: "push.committed" }, async () => {
    await scene.commit("committed, not applied");
    await scene.work.fails(`git push -q ${scene.url} HEAD:master`);
  });
  scene.commits.push(await scene.head());
}

export const pushTests: readonly CrashTest[] = [
  at("push.admitted", "none"),
  at("push.node-staged", "none"),
  at("push.node-staged:3", "none"),
  at("push.staged", "none"),
  at("push.refs-written", "none"),
  at("push.committed", "whole"),
  at("push.node-applied", "whole"),
  at("push.node-applied:3", "whole"),
  at("push.nodes-applied", "whole"),
  at("push.applied", "whole"),
  {
    crashes: [{ server: "controller-1", point: "push.others-fetched" }],
    prepare: hideCommit,
    act: pushOnHidden("none"),
  },
  // The repair looks once, and helps those that lag only at its second look.
  { ...at("apply.gap-read", "whole"), prepare: fallBehind, env: { GITMESH_REPAIR_INTERVAL_MS: "60000" } },
  { crashes: [{ server: "controller-1", point: "apply.log-applied" }], prepare: fallBehind },
];
