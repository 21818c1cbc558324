/** A controller dies in the course of a push. */
import type { CrashTest } from "./crash-test.ts";
import { pushChanges, type Effect } from "./pushes.ts";

const at = (point: string, effect: Effect): CrashTest => ({
  crashes: [{ server: "controller-1", point }],
  act: pushChanges(effect),
});

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
];
