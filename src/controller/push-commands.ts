/** A push's commands between the steps: what was asked, what is already refused, what staging found out. Pure. */
import type { StageHeader, TipResult } from "../protocol/node-api.ts";
import type { ReceivePackRequest } from "../protocol/receive-pack-request.ts";
import { checkRefName, type ObjectId, type RefName } from "../protocol/ref-name.ts";
import type { RefResult, Repository, RequestedChange } from "../store/store.ts";

export interface Admitted {
  readonly changes: readonly RequestedChange[];
  /** git sends a pack, if an empty one, with every push that is not deletes alone (gitprotocol-pack). */
  readonly bringsPack: boolean;
  /** The client's history is cut off: what is missing may be its missing history. */
  readonly fromShallow: boolean;
}

/** What `tips` of a StageHeader is about: the values of these refs, by key. */
type Tip = StageHeader["tips"][number];

/** The commands as changes; those that no repository would take are refused already. */
export function requestedChanges(request: ReceivePackRequest): Admitted {
  const changes = request.commands.map((command): RequestedChange => {
    const change = { ...command, peeled: undefined, fastForward: undefined };
    // The reason is git's own word, also for names that a delete could never find.
    return checkRefName(command.name) === undefined ? change : { ...change, refusal: "funny refname" };
  });
  return {
    changes,
    bringsPack: request.commands.some((command) => command.newOid !== undefined),
    fromShallow: request.shallows.length > 0,
  };
}

/** The new values that the replicas are to check, each once with the ancestor that the policy asks about. */
export function tipsToStage(admitted: Admitted, repository: Repository): Tip[] {
  const tips = new Map<string, Tip>();
  for (const change of admitted.changes) {
    if (change.refusal !== undefined || change.newOid === undefined) continue;
    const ancestor = ancestorToCheck(change, repository);
    const key = tipKey(change.newOid, ancestor);
    if (!tips.has(key)) {
      tips.set(key, { name: change.name, oid: change.newOid, ...(ancestor === undefined ? {} : { ancestor }) });
    }
  }
  return [...tips.values()];
}

/** The changes with object types judged, peeled values and fast-forward answers; `results` in the order of the tips. */
export function withStagedTips(admitted: Admitted, repository: Repository, results: readonly TipResult[]): Admitted {
  const byKey = new Map<string, TipResult>();
  for (const [index, tip] of tipsToStage(admitted, repository).entries()) {
    const result = results[index];
    if (result !== undefined) byKey.set(tipKey(tip.oid, tip.ancestor), result);
  }
  const changes = admitted.changes.map((change): RequestedChange => {
    if (change.refusal !== undefined || change.newOid === undefined) return change;
    const result = byKey.get(tipKey(change.newOid, ancestorToCheck(change, repository)));
    if (result === undefined || result.type === "missing") {
      return { ...change, refusal: admitted.fromShallow ? "shallow update not allowed" : "missing necessary objects" };
    }
    if (change.name.startsWith("refs/heads/") && result.type !== "commit") {
      return { ...change, refusal: "trying to write non-commit object to branch" };
    }
    return { ...change, peeled: result.peeled, fastForward: result.fastForward };
  });
  return { ...admitted, changes };
}

/** Every change refused for one reason; those refused before keep theirs. */
export function refuseAll(admitted: Admitted, refusal: string): RefResult[] {
  return admitted.changes.map((change) => ({ name: change.name, refusal: change.refusal ?? refusal }));
}

function ancestorToCheck(
  change: { name: RefName; oldOid: ObjectId | undefined },
  repository: Repository,
): ObjectId | undefined {
  return repository.denyNonFastForwards && change.name.startsWith("refs/heads/") ? change.oldOid : undefined;
}

function tipKey(oid: ObjectId, ancestor: ObjectId | undefined): string {
  return `${oid} ${ancestor ?? ""}`;
}
