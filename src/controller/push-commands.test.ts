import assert from "node:assert/strict";
import { test } from "node:test";
import type { ReceivePackRequest } from "../protocol/receive-pack-request.ts";
import type { Repository } from "../store/store.ts";
import { refuseAll, requestedChanges, tipsToStage, withStagedTips } from "./push-commands.ts";

const a = "a".repeat(40);
const b = "b".repeat(40);
const c = "c".repeat(40);

const repository: Repository = {
  id: "01900000-0000-7000-8000-000000000000",
  name: "test",
  objectFormat: "sha1",
  defaultBranch: "refs/heads/master",
  description: "",
  replicasWanted: 3,
  denyDeletes: false,
  denyNonFastForwards: false,
  generation: 1,
  aheadGeneration: -1,
  createdMs: 0,
  pushedMs: -1,
};
const strict: Repository = { ...repository, denyNonFastForwards: true };

type Command = ReceivePackRequest["commands"][number];

function request(commands: Command[], shallows: string[] = []): ReceivePackRequest {
  return {
    commands,
    capabilities: new Map(),
    reportStatus: "v1",
    sideBand: true,
    atomic: false,
    quiet: false,
    pushOptions: [],
    shallows,
    empty: false,
  };
}

test("deletes alone bring no pack, anything else does", () => {
  assert.equal(requestedChanges(request([{ name: "refs/heads/x", oldOid: a, newOid: undefined }])).bringsPack, false);
  const both = request([
    { name: "refs/heads/x", oldOid: a, newOid: undefined },
    { name: "refs/heads/y", oldOid: undefined, newOid: b },
  ]);
  assert.equal(requestedChanges(both).bringsPack, true);
});

test("names that git forbids are refused each for itself; a delete of nothing is not", () => {
  const admitted = requestedChanges(
    request([
      { name: "refs/heads/ok", oldOid: undefined, newOid: a },
      { name: "refs/heads/a..b", oldOid: undefined, newOid: a },
      { name: "HEAD", oldOid: undefined, newOid: a },
      { name: "refs/heads/none", oldOid: undefined, newOid: undefined },
    ]),
  );
  assert.deepEqual(
    admitted.changes.map((change) => change.refusal),
    [undefined, "funny refname", "funny refname", undefined],
  );
  assert.deepEqual(
    tipsToStage(admitted, repository).map((tip) => tip.name),
    ["refs/heads/ok"],
  );
});

test("each new value is checked once, and asked for its ancestor only where the policy needs it", () => {
  const admitted = requestedChanges(
    request([
      { name: "refs/heads/x", oldOid: a, newOid: b },
      { name: "refs/tags/x", oldOid: undefined, newOid: b },
      { name: "refs/heads/y", oldOid: c, newOid: b },
    ]),
  );
  assert.deepEqual(tipsToStage(admitted, repository), [{ name: "refs/heads/x", oid: b }]);
  assert.deepEqual(tipsToStage(admitted, strict), [
    { name: "refs/heads/x", oid: b, ancestor: a },
    { name: "refs/tags/x", oid: b },
    { name: "refs/heads/y", oid: b, ancestor: c },
  ]);
});

test("what staging found goes to the change that it belongs to", () => {
  const admitted = requestedChanges(
    request([
      { name: "refs/heads/x", oldOid: a, newOid: b },
      { name: "refs/heads/y", oldOid: c, newOid: b },
      { name: "refs/tags/t", oldOid: undefined, newOid: c },
    ]),
  );
  const judged = withStagedTips(admitted, strict, [
    { type: "commit", fastForward: true },
    { type: "commit", fastForward: false },
    { type: "tag", peeled: b },
  ]);
  assert.deepEqual(
    judged.changes.map(({ fastForward, peeled, refusal }) => ({ fastForward, peeled, refusal })),
    [
      { fastForward: true, peeled: undefined, refusal: undefined },
      { fastForward: false, peeled: undefined, refusal: undefined },
      { fastForward: undefined, peeled: b, refusal: undefined },
    ],
  );
});

test("a branch takes commits only; a missing object refuses its ref alone", () => {
  const commands: Command[] = [
    { name: "refs/heads/tag", oldOid: undefined, newOid: a },
    { name: "refs/heads/gone", oldOid: undefined, newOid: b },
    { name: "refs/tags/blob", oldOid: undefined, newOid: c },
  ];
  const results = [{ type: "tag" as const, peeled: c }, { type: "missing" as const }, { type: "blob" as const }];
  const judged = withStagedTips(requestedChanges(request(commands)), repository, results);
  assert.deepEqual(
    judged.changes.map((change) => change.refusal),
    ["trying to write non-commit object to branch", "missing necessary objects", undefined],
  );
  const shallow = withStagedTips(requestedChanges(request(commands, [c])), repository, results);
  assert.equal(shallow.changes[1]?.refusal, "shallow update not allowed");
});

test("refusing all keeps the reasons that were there", () => {
  const admitted = requestedChanges(
    request([
      { name: "refs/heads/x", oldOid: a, newOid: b },
      { name: "refs/heads/a..b", oldOid: a, newOid: b },
    ]),
  );
  assert.deepEqual(refuseAll(admitted, "unpacker error"), [
    { name: "refs/heads/x", refusal: "unpacker error" },
    { name: "refs/heads/a..b", refusal: "funny refname" },
  ]);
});
