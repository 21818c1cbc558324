/** What every store does: one suite, run over each engine by ../store.test.ts. */
import assert from "node:assert/strict";
import { after, before, describe } from "node:test";
import { activityContract } from "./activity-contract.ts";
import { movesContract } from "./moves-contract.ts";
import { adoptionContract } from "./adoption-contract.ts";
import { nodeContract } from "./node-contract.ts";
import { refContract } from "./ref-contract.ts";
import { refRaceContract } from "./ref-race-contract.ts";
import { replicaContract } from "./replica-contract.ts";
import { repositoryContract } from "./repository-contract.ts";
import { verificationContract } from "./verification-contract.ts";
import type { StoreFactory } from "./fixtures.ts";
import type { Store } from "../store.ts";

/** Registers the suite's tests; to be called inside a `describe`. */
export function storeContract(factory: StoreFactory): void {
  let opened: Store | undefined;
  const store = (): Store => {
    assert.ok(opened !== undefined);
    return opened;
  };
  before(async () => {
    opened = await factory.open();
  });
  after(() => opened?.close());
  void describe("repositories", () => repositoryContract(store, factory));
  void describe("refs", () => refContract(store));
  void describe("refs that race", () => refRaceContract(store, factory));
  void describe("replicas", () => replicaContract(store));
  void describe("verification", () => verificationContract(store));
  void describe("nodes", () => nodeContract(store, factory));
  void describe("activity", () => activityContract(store));
  void describe("moves", () => movesContract(store));
  void describe("a store that has lost something", () => adoptionContract(store));
}
