/**
 * Crash points: named places between two steps at which a test ends the process as kill -9 does. One is armed by
 * GITMESH_CRASH_POINT=NAME, or NAME:N for the Nth time that the process comes by; unarmed, a point costs one comparison.
 *
 * Each name stands at one place of src/ and is killed at by a test (test/crash-points.test.ts holds both).
 */
import { writeSync } from "node:fs";
import { ConfigError, environmentVariable } from "./config.ts";

/** What has happened when the process dies there, and what has not. */
export const crashPoints = {
  // A push, in the controller.
  "push.admitted": "the commands are read and there is a quorum; no node has been asked",
  "push.node-staged": "one more node has answered about the pack; nothing is committed",
  "push.others-fetched": "nodes that could not use the pack have fetched its objects; nothing is committed",
  "push.staged": "the objects are durable on their replicas; nothing is committed",
  "push.refs-written": "refs, log and generation are written in the transaction; COMMIT is not sent",
  "push.committed": "the push is committed; no replica and no client has been told",
  "push.node-applied": "one more replica has applied the commit; the store does not know it",
  "push.nodes-applied": "all replicas that could have applied the commit; the store does not know it",
  "push.applied": "the store knows who has applied; the client has no answer",
  "apply.gap-read": "a replica missed earlier generations and the log is read for it; it has not been sent",
  "apply.log-applied": "a replica has followed the ref log; the store does not know it",
  // Repositories, in the controller.
  "create.node-made": "one more node has an empty replica; there is no record",
  "create.replicas-made": "all nodes that could have an empty replica; there is no record",
  "create.rows-written": "repository and replicas are written in the transaction; COMMIT is not sent",
  "create.committed": "the repository is there; the client has no answer",
  "create.node-taken-back": "the creation failed and one more node has moved its replica aside; others have not",
  "update.rows-written": "the change is written in the transaction; COMMIT is not sent",
  "update.committed": "the change is committed; a new name has been told to no node",
  "update.node-told": "one more node has the change; others have not",
  "delete.rows-deleted": "rows are deleted and the tombstone is written in the transaction; COMMIT is not sent",
  "delete.committed": "the repository is gone; no node has been told",
  "delete.node-told": "one more node has moved its replica aside; others have not",
  // Replicas, in the controller.
  "replica-state.row-written": "a replica's new state is written in the transaction; COMMIT is not sent",
  "repair.filling": "a replica is PREPARING; its node has not been asked to fetch",
  "repair.filled": "a replica has fetched and has the refs; it is still PREPARING",
  "promote.row-written": "a replica is READY in the transaction; COMMIT is not sent",
  "repair.promoted": "a replica is READY; nothing else has been done about it",
  "failover.planned": "a repository is to get one more replica; nothing is written",
  "failover.row-written": "the new replica is written in the transaction; COMMIT is not sent",
  "failover.placed": "the new replica has its place in the store; its node has not been told",
  "remove.row-deleted": "a replica that is not needed is deleted in the transaction; COMMIT is not sent",
  "remove.committed": "the store has forgotten the replica; its node has not been told",
  "remove.node-told": "the node has moved the replica aside; nothing else has been done",
  "orphan.moved-aside": "a node has moved a copy aside that is not placed there; it is still on the list",
  // The cluster, in the controller.
  "lease.row-written": "the lease is written in the transaction; COMMIT is not sent",
  "lease.taken": "the lease is committed; its holder has done nothing with it",
  "lease.released": "the lease is given back; the controller has not ended",
  "register.rows-written": "a node and its replicas' states are written in the transaction; COMMIT is not sent",
  "register.committed": "a node is registered; it has no answer",
  "node-removal.rows-deleted": "a node and its replicas are deleted in the transaction; COMMIT is not sent",
  "migration.statement-run": "one more statement of a migration has run; its version is not recorded",
  "migration.recorded": "a migration's version is written; where the engine can, COMMIT is not sent",
  // Staging, in a node.
  "stage.quarantine-made": "the quarantine is there; no byte of the pack is",
  "stage.pack-kept": "the pack is durable in the quarantine of a replica that waits for the lead's index",
  "stage.indexed": "the pack is indexed in the quarantine; whether it is complete is not known",
  "stage.checked": "all that the new values reach is there; nothing has left the quarantine",
  "quarantine.file-moved": "one more file of a pack is in the object store; others, or the sync, are missing",
  "quarantine.moved": "all files are in the object store; its directory is not synced",
  "quarantine.synced": "the objects are durable; the quarantine is still there",
  "quarantine.discarded": "the quarantine is gone; nobody has been answered",
  "fetch-tips.fetched": "the objects of a push are fetched into the quarantine; they are not checked",
  // Refs, in a node.
  "apply.begun": "the change is read; no ref has changed",
  "refs.lock-written": "a ref's new value is durable beside it; it has not replaced the old one",
  "refs.one-written": "one more ref has its new value; others, or the directory's sync, are missing",
  "refs.part-written": "packed-refs is written anew; loose refs that hide it are still there",
  "refs.packed": "packed-refs is durable beside the old one; it has not replaced it",
  "refs.unblocked": "locks and broken refs that were in the way are removed; the change is not written",
  "refs.written": "all refs are written; the directories are not synced",
  "refs.cleared": "all refs are gone, as they are to be written anew",
  "apply.refs-written": "the refs are durable; their generation is not recorded",
  "apply.recorded": "the generation is recorded; the controller has no answer",
  "file.written": "the new file is durable beside the old one; it has not replaced it",
  "file.renamed": "the new file has replaced the old one; the directory is not synced",
  // Catching up, in a node.
  "catch-up.created": "an empty replica at generation -1 is there; nothing is fetched",
  "catch-up.unrecorded": "refs that cannot be read count for nothing any more; they are still there",
  "catch-up.fetched": "the objects are in the quarantine; whether they are complete is not known",
  "catch-up.objects-moved": "all objects are in the replica; its refs are the old ones",
  "catch-up.refs-set": "refs are those of the generation; it is not recorded",
  "catch-up.recorded": "the generation is recorded; the controller has no answer",
  // Replicas on disk, in a node.
  "replica.copied": "an empty repository is being built; it does not say which",
  "replica.built": "it is built and durable; it is not in its place",
  "replica.renamed": "it is in its place; the directories above are not synced",
  "replica.made": "it is durable in its place; the controller has no answer",
  "describe.config-written": "the config has the new name; HEAD and the record are old",
  "describe.head-written": "HEAD is new; the record is old",
  "retire.moved": "the replica is aside; neither directory is synced",
  "retire.synced": "the replica is durably aside; the controller has no answer",
  "purge.removed": "a copy that was aside is gone for good",
  // Start of a node.
  "start.locked": "the directory is this server's; nothing is read",
  "start.building-removed": "half-made replicas are removed; the templates are not made",
  "identity.made": "a new node's identity is on its disk; nobody has heard of it",
  "registration.inventory-taken": "what is on the disk is read; no controller has been told",
  "registration.answered": "a controller has registered the node; deleted replicas are not moved aside",
  "leftovers.one-removed": "one leftover of a killed process more is removed; others are not",
  "leftovers.refs-unlocked": "the locks of refs are removed; quarantines are not",
} as const;

export type CrashPoint = keyof typeof crashPoints;

const variable = "GITMESH_CRASH_POINT";
const armed = parse(environmentVariable(variable));
/** undefined as a rule. */
const armedName = armed?.name;
let hitsLeft = armed?.hits ?? 0;

/** Ends the process at once if this point is armed: no handler runs, nothing is flushed. */
export function crashPoint(name: CrashPoint): void {
  if (name === armedName) hit(name);
}

function hit(name: string): void {
  hitsLeft -= 1;
  if (hitsLeft !== 0) return;
  writeSync(2, `crash point ${name}\n`);
  process.kill(process.pid, "SIGKILL");
}

function parse(text: string | undefined): { readonly name: string; readonly hits: number } | undefined {
  if (text === undefined) return undefined;
  const [, name = "", hits = "1"] = /^([a-z.-]+)(?::([1-9]\d{0,5}))?$/.exec(text) ?? [];
  if (!Object.hasOwn(crashPoints, name)) throw new ConfigError([`${variable}: there is no crash point ${text}`]);
  return { name, hits: Number(hits) };
}
