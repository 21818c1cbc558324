import assert from "node:assert/strict";
import { test } from "node:test";
import type { TipResult } from "../protocol/node-api.ts";
import type { WriteTarget } from "./router.ts";
import type { ReplicaStageResult, StagedPack } from "./staging.ts";
import { judgeStaging, lackingReplicas } from "./staging-outcome.ts";

const commit: TipResult = { type: "commit" };
const missing: TipResult = { type: "missing" };
const ok = (tips: TipResult[] = [commit]): ReplicaStageResult => ({ kind: "staged", tips, packBytes: 100 });
const bad: ReplicaStageResult = { kind: "bad-pack", message: "pack is corrupted (SHA1 mismatch)" };
const gone: ReplicaStageResult = { kind: "unreachable", message: "ECONNREFUSED" };
const busy: ReplicaStageResult = { kind: "busy", message: "too many requests wait" };
const full: ReplicaStageResult = { kind: "node-failed", message: "No space left on device" };

function staged(...results: ReplicaStageResult[]): StagedPack {
  const entries = results.map((result, index) => [`n${index + 1}`, result] as const);
  return { results: new Map(entries), stagedMs: {}, packBytes: 100, tooLarge: false, givenUp: false };
}

function targets(...ready: boolean[]): WriteTarget[] {
  return ready.map((isReady, index) => ({
    nodeId: `n${index + 1}`,
    url: `http://n${index + 1}`,
    ready: isReady,
    copyNumber: 0,
  }));
}

const three = targets(true, true, true);
const busySentence = "the cluster has as much work as it may take; nothing has changed, try again shortly";
const tooFew = (holders: number): string => `only ${holders} of the 2 replicas needed could store it; try again`;

const table = [
  { name: "all hold it", targets: three, staged: staged(ok(), ok(), ok()), holders: ["n1", "n2", "n3"] },
  { name: "one died: the quorum stands", targets: three, staged: staged(ok(), gone, ok()), holders: ["n1", "n3"] },
  { name: "one has no room", targets: three, staged: staged(full, ok(), ok()), holders: ["n2", "n3"] },
  { name: "one is busy", targets: three, staged: staged(ok(), busy, ok()), unpack: busySentence },
  {
    name: "a PREPARING replica's node is busy",
    targets: targets(true, true, false),
    staged: staged(ok(), ok(), busy),
    holders: ["n1", "n2"],
  },
  { name: "two died", targets: three, staged: staged(ok(), gone, gone), unpack: tooFew(1) },
  { name: "two have no room", targets: three, staged: staged(ok(), full, full), unpack: tooFew(1) },
  { name: "a bad pack", targets: three, staged: staged(bad, bad, bad), unpack: "pack is corrupted (SHA1 mismatch)" },
  {
    name: "a bad pack, the others died",
    targets: three,
    staged: staged(bad, gone, gone),
    unpack: "pack is corrupted (SHA1 mismatch)",
  },
  {
    name: "a pack that one replica alone finds bad",
    targets: three,
    staged: staged(bad, ok(), ok()),
    holders: ["n2", "n3"],
  },
  {
    name: "a PREPARING replica holds it but does not count",
    targets: targets(true, false, false),
    staged: staged(ok(), ok(), ok()),
    unpack: tooFew(1),
  },
  {
    name: "a PREPARING replica is told to apply with the others",
    targets: targets(true, true, false),
    staged: staged(ok(), ok(), ok()),
    holders: ["n1", "n2", "n3"],
  },
  {
    name: "a PREPARING replica lacks the base",
    targets: targets(true, true, false),
    staged: staged(ok(), ok(), ok([missing])),
    holders: ["n1", "n2"],
  },
  {
    name: "a READY replica that lost objects drops out",
    targets: three,
    staged: staged(ok(), ok([missing]), ok()),
    holders: ["n1", "n3"],
  },
  {
    name: "missing for most",
    targets: three,
    staged: staged(ok([missing]), ok(), ok([missing])),
    holders: ["n1", "n3"],
    first: "missing",
  },
  {
    name: "nothing was sent",
    targets: three,
    staged: { ...staged(ok(), ok(), ok()), packBytes: 0 },
    unpack: "eof before pack header was fully read",
  },
  {
    name: "too much was sent",
    targets: three,
    staged: { ...staged(gone, gone, gone), tooLarge: true },
    unpack: "pack exceeds maximum allowed size",
  },
];

for (const row of table) {
  test(`staging: ${row.name}`, () => {
    const verdict = judgeStaging(row.targets, row.staged, 2);
    if (row.holders !== undefined) {
      assert.equal(verdict.kind, "staged");
      assert.deepEqual(verdict.kind === "staged" && verdict.nodeIds, row.holders);
      if (row.first !== undefined) assert.equal(verdict.kind === "staged" && verdict.tips[0]?.type, row.first);
    } else {
      assert.deepEqual(verdict, { kind: "refused", unpack: row.unpack, refusal: "unpacker error" });
    }
  });
}

const lacking = [
  { name: "nobody", targets: three, staged: staged(ok(), ok(), ok()), found: [] },
  { name: "nobody, of a bad pack", targets: three, staged: staged(bad, bad, gone), found: [] },
  {
    name: "nobody, of a tip that none has",
    targets: three,
    staged: staged(ok([missing]), ok([missing]), bad),
    found: [],
  },
  { name: "one", targets: three, staged: staged(bad, ok(), ok()), found: ["n1"] },
  { name: "most find it bad", targets: three, staged: staged(bad, ok(), bad), found: ["n1", "n3"] },
  { name: "most miss it", targets: three, staged: staged(ok([missing]), ok(), ok([missing])), found: ["n1", "n3"] },
  {
    name: "each misses what the other has",
    targets: three,
    staged: staged(ok([commit, missing]), ok([missing, commit]), gone),
    found: ["n1", "n2"],
  },
  {
    name: "not a PREPARING one, nor by what it has",
    targets: targets(true, false, false),
    staged: staged(ok([missing]), ok(), bad),
    found: [],
  },
];

for (const row of lacking) {
  test(`lacking what another complete replica has: ${row.name}`, () => {
    assert.deepEqual(lackingReplicas(row.targets, row.staged), row.found);
  });
}
