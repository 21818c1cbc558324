/** Controller and nodes die in one operation. */
import type { Crash, CrashTest, Verdict } from "./crash-test.ts";
import { pushChanges } from "./pushes.ts";
import { create, remove, changeDefaultBranch } from "./repository-tests.ts";
import type { Scene } from "./scene.ts";

function both(
  act: (scene: Scene) => Promise<Verdict>,
  controllerPoint: string,
  ...nodePoints: readonly (string | undefined)[]
): CrashTest {
  const ofNodes = nodePoints.flatMap((point, index): Crash[] =>
    point === undefined ? [] : [{ server: `node-${index + 1}`, point }],
  );
  // The nodes first: what they do is what the controller waits for.
  return { crashes: [...ofNodes, { server: "controller-1", point: controllerPoint }], act };
}

export const bothTests: readonly CrashTest[] = [
  both(pushChanges("none"), "push.staged", "stage.indexed"),
  both(pushChanges("none"), "push.refs-written", undefined, "quarantine.moved"),
  both(pushChanges("whole"), "push.committed", undefined, undefined, "quarantine.file-moved"),
  both(pushChanges("whole"), "push.nodes-applied", "apply.refs-written"),
  both(pushChanges("whole"), "push.nodes-applied", "apply.begun", "refs.part-written", "apply.recorded"),
  both(pushChanges("whole"), "push.applied", undefined, "apply.begun"),
  both(create("none"), "create.replicas-made", "replica.renamed"),
  both(create("whole"), "create.committed", undefined, "replica.built"),
  both(changeDefaultBranch("whole"), "update.node-told", undefined, undefined, "describe.head-written"),
  both(remove("whole"), "delete.node-told:2", "retire.moved"),
];
