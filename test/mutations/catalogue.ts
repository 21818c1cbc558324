/**
 * Deliberate faults: each takes away what one of the guarantees (docs/guarantees.md) rests on, and a test must fail.
 * `npm run mutations` makes them one at a time in a copy of the project.
 */
export interface Mutation {
  readonly name: string;
  /** Relative to the project. */
  readonly file: string;
  /** Occurs exactly once in the file. */
  readonly find: string;
  readonly replace: string;
  /** The test file that must fail. */
  readonly test: string;
}

export const mutations: readonly Mutation[] = [
  {
    name: "old value ignored",
    file: "src/store/commit-rules.ts",
    find: "if (stored === oldOid) return undefined;",
    replace: "return undefined;",
    test: "src/store/commit-rules.test.ts",
  },
  {
    name: "atomic push committed in part",
    file: "src/store/commit-rules.ts",
    find: "if (atomic && refusals.some(",
    replace: "if (!atomic && refusals.some(",
    test: "src/store/commit-rules.test.ts",
  },
  {
    name: "no quorum needed at the commit",
    file: "src/store/sql/ref-transaction.ts",
    find: "if (stagedReady < commit.writeQuorum)",
    replace: "if (stagedReady < 0)",
    test: "src/store/store.test.ts",
  },
  {
    name: "a replica that missed a push stays READY",
    file: "src/store/sql/ref-transaction.ts",
    find: '.set({ state: "STALE", reason: `missed generation',
    replace: '.set({ state: "READY", reason: `missed generation',
    test: "src/store/store.test.ts",
  },
  {
    name: "what was missed during a catch-up is forgotten",
    file: "src/store/sql/ref-transaction.ts",
    find: ".set({ missed_generation: generation })",
    replace: ".set({ missed_generation: -1 })",
    test: "src/store/store.test.ts",
  },
  {
    name: "promoted too early",
    file: "src/store/sql/replicas.ts",
    find: 'replica?.state !== "PREPARING" || replica.missed_generation > fetchedGeneration',
    replace: 'replica?.state !== "PREPARING"',
    test: "src/store/store.test.ts",
  },
  {
    name: "a push is committed twice when its answer was lost",
    file: "src/store/sql/ref-transaction.ts",
    find: "if (earlier !== undefined) return outcomeAgain(commit, earlier);",
    replace: "",
    test: "src/store/store.test.ts",
  },
  {
    name: "one replica is enough for the quorum of staging",
    file: "src/controller/staging-outcome.ts",
    find: "best.ready.length >= writeQuorum",
    replace: "best.ready.length >= 1",
    test: "src/controller/staging-outcome.test.ts",
  },
  {
    name: "a replica being filled counts for the quorum",
    file: "src/controller/staging-outcome.ts",
    find: "if (target.ready) group.ready.push(target.nodeId);",
    replace: "group.ready.push(target.nodeId);",
    test: "src/controller/staging-outcome.test.ts",
  },
  {
    name: "an older ref snapshot is served",
    file: "src/controller/ref-snapshot.ts",
    find: "cached === undefined || cached.generation < generation",
    replace: "cached === undefined",
    test: "src/controller/ref-snapshot.test.ts",
  },
  {
    name: "a gap in the ref log is applied over",
    file: "src/node/apply.ts",
    find: "if (generation < request.base) {",
    replace: "if (generation < -1) {",
    test: "src/node/server.test.ts",
  },
  {
    name: "connectivity is not checked",
    file: "src/node/connectivity.ts",
    find: "  return walk.code === 0;",
    replace: "  return true;",
    test: "src/node/stage.test.ts",
  },
  {
    name: "a pack that git finds bad is staged",
    file: "src/node/stage.ts",
    find: "if (refusal !== undefined && upload.bytes > 0) return refusal;",
    replace: "",
    test: "src/node/stage.test.ts",
  },
  {
    name: "a disk that is older than confirmed is believed",
    file: "src/store/sql/registration.ts",
    find: "return generation < replica.generation;",
    replace: "return false;",
    test: "src/store/store.test.ts",
  },
  {
    name: "a replica that is ahead of the store is not noticed",
    file: "src/store/sql/adoption.ts",
    find: "if (generation > row.generation && (await",
    replace: "if (generation < 0 && (await",
    test: "src/store/store.test.ts",
  },
  {
    name: "surplus is removed before the others are READY",
    file: "src/controller/repair-plan.ts",
    find: 'if (state === "QUARANTINED" || elsewhere < wanted) continue;',
    replace: 'if (state === "QUARANTINED") continue;',
    test: "src/controller/repair-plan.test.ts",
  },
  {
    name: "a QUARANTINED replica is filled over",
    file: "src/controller/repair-plan.ts",
    find: 'replicas.filter(({ state }) => state === "STALE" || state === "PREPARING");',
    replace: 'replicas.filter(({ state }) => state !== "READY");',
    test: "src/controller/repair-plan.test.ts",
  },
  {
    name: "a damaged copy is used to fill itself",
    file: "src/controller/replica-catch-up.ts",
    find: "if (replica.damaged) {",
    replace: "if (replica.nodeId === undefined) {",
    test: "src/controller/scrub.test.ts",
  },
  {
    name: "the only complete copy is taken out of service",
    file: "src/store/sql/verification.ts",
    find: 'if (!replicas.some(({ node_id, state }) => node_id !== nodeId && state === "READY")) {',
    replace: "if (replicas.length === 0) {",
    test: "src/store/store.test.ts",
  },
  {
    name: "a copy aside is deleted without verified replicas elsewhere",
    file: "src/controller/copies.ts",
    find: 'state === "READY" && verifiedMs > movedMs && membership.get(nodeId)?.alive === true',
    replace: 'state === "READY"',
    test: "src/controller/scrub.test.ts",
  },
  {
    name: "damage is overlooked",
    file: "src/node/fsck.ts",
    find: "return damage.slice(0, problemsMax)",
    replace: "return damage.slice(0, 0)",
    test: "src/node/verify.test.ts",
  },
  {
    name: "retiring deletes",
    file: "src/node/repositories.ts",
    find: "await rename(directory, join(aside, `${id}.${this.#clock.nowMs()}.${word}.git`));",
    replace: "await rm(directory, { recursive: true });",
    test: "src/node/verify.test.ts",
  },
  {
    name: "anybody may talk to a node",
    file: "src/node/server.ts",
    find: 'guarded.addHook("onRequest", requireClusterSecret(settings.secret));',
    replace: "",
    test: "src/node/server.test.ts",
  },
  {
    name: "pushes go on in a repository that has lost some",
    file: "src/store/sql/ref-transaction.ts",
    find: "if (seenGeneration > repository.generation) {",
    replace: "if (seenGeneration < -1) {",
    test: "src/store/store.test.ts",
  },
  {
    name: "a store that went back in time is taken for the same",
    file: "src/store/sql/nodes.ts",
    find: '.$if(lastHeartbeatMs !== undefined, (query) => query.where("heartbeat_ms", ">=", lastHeartbeatMs ?? 0))',
    replace: "",
    test: "src/store/store.test.ts",
  },
  {
    name: "a minority of the copies is adopted",
    file: "src/controller/adoption-plan.ts",
    find: "if (2 * newest.length <= copies.length) {",
    replace: "if (newest.length === 0) {",
    test: "src/controller/adoption-plan.test.ts",
  },
  {
    name: "an adoption does something else than what was shown",
    file: "src/controller/adoption.ts",
    find: "if (plan.digest !== digest) throw changed;",
    replace: "",
    test: "test/e2e/database-restore-sqlite.test.ts",
  },
  {
    name: "a change is made twice when the answer to its COMMIT was lost",
    file: "src/store/sql/database.ts",
    find: "if (!(await this.#takeKey(trx, id)) && earlier !== undefined) return earlier.value;",
    replace: "await this.#takeKey(trx, id);",
    test: "src/store/store.test.ts",
  },
  {
    name: "what is not known is told as not done",
    file: "src/store/sql/database.ts",
    find: "if (leftMs <= 0) throw unavailable(error, true);",
    replace: "if (leftMs <= 0) throw unavailable(error, false);",
    test: "src/store/store.test.ts",
  },
  {
    name: "each request waits for a database that is known to be down",
    file: "src/store/sql/health.ts",
    find: "if (this.#down !== undefined) throw this.#down.reason;",
    replace: "",
    test: "src/store/sql/health.test.ts",
  },
  {
    name: "stale reads without the setting",
    file: "src/controller/known-repositories.ts",
    find: "staleReads ? new LRUCache({ max: rememberedMax }) : undefined",
    replace: "new LRUCache({ max: rememberedMax })",
    test: "src/controller/known-repositories.test.ts",
  },
  {
    name: "a staged pack is not fsynced",
    file: "src/node/git-environment.ts",
    find: '"core.fsync": "loose-object,pack,pack-metadata,commit-graph,reference",',
    replace: '"core.fsync": "loose-object,pack-metadata,commit-graph,reference",',
    test: "test/power-loss/power-loss.test.ts",
  },
  {
    name: "the directory of a staged pack is not fsynced",
    file: "src/node/quarantine.ts",
    find: "    await syncDirectory(this.#packs);\n",
    replace: "",
    test: "test/power-loss/power-loss.test.ts",
  },
  {
    name: "the directory of a renamed file is not fsynced",
    file: "src/node/durable-file.ts",
    find: "await syncDirectory(dirname(path));",
    replace: "void dirname(path);",
    test: "test/power-loss/power-loss.test.ts",
  },
  {
    name: "refs that a catch-up set are not fsynced",
    file: "src/node/ref-updates.ts",
    find: 'await syncDirectories(directory, ["", ...(await refDirectories(directory))]);',
    replace: "await refDirectories(directory);",
    test: "test/power-loss/power-loss.test.ts",
  },
  {
    name: "the embedded store does not wait for the disk",
    file: "src/store/sql/sqlite.ts",
    find: "pragma synchronous = full;",
    replace: "pragma synchronous = normal;",
    test: "test/power-loss/power-loss.test.ts",
  },
  {
    name: "the quorum is off by one",
    file: "src/controller/receive-pack.ts",
    find: "const writeQuorum = writeQuorumOf(repository.replicasWanted, settings.writeQuorum);",
    replace: "const writeQuorum = Math.max(1, writeQuorumOf(repository.replicasWanted, settings.writeQuorum) - 1);",
    test: "test/simulation/simulation.test.ts",
  },
  {
    name: "answered before the commit",
    file: "src/controller/receive-pack.ts",
    find: "    let outcome: CommitOutcome;\n    try {\n",
    replace:
      "    let outcome: CommitOutcome;\n    void this.#deps.store.commitRefs({ repositoryId: repository.id, pushId, atomic: request.atomic, " +
      "changes: admitted.changes, stagedNodeIds, writeQuorum, committedMs: this.#deps.clock.nowMs() }).catch(() => {});\n" +
      '    if (pushId !== "") return { unpack: "ok", results: admitted.changes.map(({ name }) => ({ name, refusal: undefined })) };\n' +
      "    try {\n",
    test: "test/simulation/simulation.test.ts",
  },
  {
    name: "what a node missed of a change is never found",
    file: "src/controller/server.ts",
    find: "scrub, copies, inventory, orphans]",
    replace: "scrub, copies, orphans]",
    test: "test/e2e/crash-points-repositories.test.ts",
  },
];
