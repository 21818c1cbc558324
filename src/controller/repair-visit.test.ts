/** Visits of the repair over a store in memory: which repositories have their turn. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createLogger } from "../base/log.ts";
import { controllerSettingsSchema } from "../base/settings.ts";
import { openStore } from "../store/open-store.ts";
import { repositoryIn } from "../store/testing/fixtures.ts";
import { Repair, type RepairDependencies } from "./repair.ts";
import { clusterNode } from "./testing/cluster-states.ts";
import { ManualClock } from "./testing/manual-clock.ts";
import { WorkLog } from "./work-log.ts";

test("a hundred replicas that cannot leave do not keep the next one from leaving", async () => {
  const store = await openStore("sqlite::memory:");
  await store.migrate();
  const clock = new ManualClock();
  const log = createLogger("controller", "silent");
  const nodes = [clusterNode("a"), clusterNode("b"), clusterNode("c", { diskUsage: 0.99 })];
  const membership = {
    nodes: () => nodes,
    get: () => undefined,
    refresh: async () => {},
  } as unknown as RepairDependencies["membership"];
  const repair = new Repair({
    store,
    clock,
    log,
    membership,
    workLog: new WorkLog({ store, clock, log }),
    settings: controllerSettingsSchema.parse({ secret: "0123456789abcdef" }),
    ...({} as Pick<RepairDependencies, "nodeClient" | "applier" | "catchUp" | "lease">),
  });
  const placed = (...nodeIds: string[]) => nodeIds.map((nodeId) => ({ nodeId, created: true }));
  for (let index = 0; index < 100; index += 1) {
    const { id } = await repositoryIn(store, { replicasWanted: 2, placements: placed("a", "b") });
    await store.moveReplica(id, "a", undefined, index);
  }
  const last = await repositoryIn(store, { replicasWanted: 2, placements: placed("a", "b", "c") });
  await store.moveReplica(last.id, "a", undefined, 1000);
  const never = new AbortController().signal;
  for (let visit = 1; visit <= 2; visit += 1) await repair.visit(never, never);
  await repair.settled();
  const on = (await store.getRepository(last.id))?.replicas.map(({ nodeId }) => nodeId);
  assert.deepEqual(on, ["b", "c"]);
  await store.close();
});
