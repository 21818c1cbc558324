import assert from "node:assert/strict";
import { test } from "node:test";
import { GitmeshError } from "../base/errors.ts";
import type { RepositoryWithReplicas, Store } from "../store/store.ts";
import { KnownRepositories } from "./known-repositories.ts";
import { replica, repository } from "./testing/cluster-states.ts";

function setUp(staleReads: boolean) {
  const state: { down: boolean; found: RepositoryWithReplicas | undefined } = {
    down: false,
    found: { repository: repository({ generation: 1 }), replicas: [replica("a", "READY")] },
  };
  const findRepository: Store["findRepository"] = async (name) => {
    if (state.down) throw new GitmeshError("store-unavailable", "down");
    return name === "test" ? state.found : undefined;
  };
  // Only this method is used.
  const repositories = new KnownRepositories({ findRepository } as Store, staleReads);
  return { state, repositories };
}

test("without the setting nothing is remembered", async () => {
  const { state, repositories } = setUp(false);
  assert.equal((await repositories.find("test", "read")).stale, false);
  state.down = true;
  await assert.rejects(repositories.find("test", "read"), { code: "store-unavailable" });
});

test("with it reads get what was found last, writes never", async () => {
  const { state, repositories } = setUp(true);
  await repositories.find("test", "write");
  state.found = { repository: repository({ generation: 2 }), replicas: [] };
  assert.equal((await repositories.find("test", "read")).stale, false);
  state.down = true;
  assert.deepEqual(await repositories.find("test", "read"), { repository: state.found, stale: true });
  await assert.rejects(repositories.find("test", "write"), { code: "store-unavailable" });
  await assert.rejects(repositories.find("other", "read"), { code: "store-unavailable" });
});

test("what was deleted is forgotten", async () => {
  const { state, repositories } = setUp(true);
  await repositories.find("test", "read");
  state.found = undefined;
  await assert.rejects(repositories.find("test", "read"), { code: "repository-not-found" });
  state.down = true;
  await assert.rejects(repositories.find("test", "read"), { code: "store-unavailable" });
});
