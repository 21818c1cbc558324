/** The list of copies: what it costs, and what is in it. What is purged and when is in scrub.test.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { v7 as uuid } from "uuid";
import { createLogger } from "../base/log.ts";
import { controllerSettingsSchema } from "../base/settings.ts";
import { openStore } from "../store/open-store.ts";
import { repositoryIn } from "../store/testing/fixtures.ts";
import { Copies, type CopiesDependencies } from "./copies.ts";
import { clusterNode } from "./testing/cluster-states.ts";
import { ManualClock } from "./testing/manual-clock.ts";

test("copies of no replica, of nodes that answer; the nodes are asked once a minute, or when it must be fresh", async () => {
  const store = await openStore("sqlite::memory:");
  await store.migrate();
  const placements = [{ nodeId: "a", created: true }];
  const { id, name } = await repositoryIn(store, { replicasWanted: 1, placements });
  const orphan = uuid();
  let asked = 0;
  const onDisk = (repositoryId: string, called: string) => ({ repositoryId, name: called });
  const nodeClient = {
    copies: async () => {
      asked += 1;
      const aside = {
        entry: "e",
        repositoryId: id,
        name: "b-aside",
        reason: "damaged",
        movedMs: 5,
        ageMs: 1,
        sizeBytes: 9,
      };
      return { replicas: [onDisk(id, name), onDisk(orphan, "a-orphan")], aside: [aside] };
    },
  } as unknown as CopiesDependencies["nodeClient"];
  const clock = new ManualClock();
  const nodes = [clusterNode("a"), clusterNode("b", { alive: false })];
  const copies = new Copies({
    store,
    nodeClient,
    membership: { nodes: () => nodes } as unknown as CopiesDependencies["membership"],
    lease: {} as CopiesDependencies["lease"],
    settings: controllerSettingsSchema.parse({ secret: "0123456789abcdef" }),
    clock,
    log: createLogger("controller", "silent"),
  });
  const [found, same] = await Promise.all([copies.list({ fresh: false }), copies.list({ fresh: true })]);
  assert.deepEqual(
    found.copies.map(({ kind, repositoryId, name: called, movedMs }) => [kind, repositoryId, called, movedMs]),
    [
      ["orphan", orphan, "a-orphan", -1],
      ["aside", id, "b-aside", 5],
    ],
  );
  assert.deepEqual(
    found.unreachable.map(({ id: nodeId }) => nodeId),
    ["b"],
  );
  assert.equal(same, found);
  clock.advance(59_000);
  await copies.list({ fresh: false });
  assert.equal(asked, 1);
  await copies.list({ fresh: true });
  assert.equal(asked, 2);
  clock.advance(60_000);
  await copies.list({ fresh: false });
  assert.equal(asked, 3);
  await store.close();
});
