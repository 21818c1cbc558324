/**
 * What a push may change: the pure decision of a ref transaction. Everything it needs is handed in, read under the
 * repository's row lock; sql/ref-transaction.ts does the reading and the writing.
 *
 * The words of a refusal are git's own, as `receive-pack` reports them (builtin/receive-pack.c, refs.c).
 */
import { refNameBytesMax, type ObjectId, type RefName } from "../protocol/ref-name.ts";
import type { RefChange, RefResult, RequestedChange } from "./store.ts";

export interface RefPolicy {
  readonly denyDeletes: boolean;
  readonly denyNonFastForwards: boolean;
  readonly defaultBranch: RefName;
}

export interface CommitRequest {
  readonly policy: RefPolicy;
  /** Stored values of the names in `changes` and of every ref whose name is a directory above a created one. */
  readonly current: ReadonlyMap<RefName, ObjectId>;
  /** Names of refs below a created one, at least one more of each than `changes` deletes there. */
  readonly below: readonly RefName[];
  readonly changes: readonly RequestedChange[];
  readonly atomic: boolean;
}

export interface CommitDecision {
  /** One for each requested change, in their order. */
  readonly results: readonly RefResult[];
  /** What is to be written: accepted and not without effect. Each name at most once. */
  readonly changes: readonly RefChange[];
}

/** Decides each change of a push. Deletes take effect before creates, so that a directory can become a file. */
export function decideCommit(request: CommitRequest): CommitDecision {
  const { changes, current, atomic } = request;
  const repeated = repeatedNames(changes);
  const refusals = changes.map((change) =>
    repeated.has(change.name) ? (change.refusal ?? "multiple updates for ref not allowed") : refusalOf(change, request),
  );
  refuseConflicts(request, refusals);
  if (atomic && refusals.some((refusal) => refusal !== undefined)) {
    const results = changes.map(({ name }, index) => ({ name, refusal: refusals[index] ?? "atomic push failure" }));
    return { results, changes: [] };
  }
  const written: RefChange[] = [];
  for (const [index, { name, oldOid, newOid, peeled }] of changes.entries()) {
    if (refusals[index] !== undefined || current.get(name) === newOid) continue;
    written.push({ name, oldOid, newOid, peeled: newOid === undefined ? undefined : peeled });
  }
  return { results: changes.map(({ name }, index) => ({ name, refusal: refusals[index] })), changes: written };
}

/** Names of the directories above a ref: refs/heads/a/b has refs, refs/heads and refs/heads/a. */
export function directoriesOf(name: RefName): RefName[] {
  const directories: RefName[] = [];
  for (let slash = name.indexOf("/"); slash !== -1; slash = name.indexOf("/", slash + 1)) {
    directories.push(name.slice(0, slash));
  }
  return directories;
}

function repeatedNames(changes: readonly RequestedChange[]): ReadonlySet<RefName> {
  const seen = new Set<RefName>();
  const repeated = new Set<RefName>();
  for (const { name } of changes) {
    if (seen.has(name)) repeated.add(name);
    seen.add(name);
  }
  return repeated;
}

/** Policy first, then the old value: the order of receive-pack's update(). */
function refusalOf(change: RequestedChange, { policy, current }: CommitRequest): string | undefined {
  const { name, oldOid, newOid } = change;
  if (change.refusal !== undefined) return change.refusal;
  if (name.length > refNameBytesMax) return "funny refname";
  const stored = current.get(name);
  if (newOid === undefined) {
    if (oldOid === undefined && stored === undefined) return undefined;
    if (policy.denyDeletes) return "deletion prohibited";
    if (name === policy.defaultBranch) return "deletion of the current branch prohibited";
  } else if (policy.denyNonFastForwards && oldOid !== undefined && name.startsWith("refs/heads/")) {
    // What was not asked is not known: the policy may have come while the push was uploaded.
    if (change.fastForward !== true) return "non-fast-forward";
  }
  if (stored === oldOid) return undefined;
  if (oldOid === undefined) return "reference already exists";
  if (stored === undefined) return `cannot lock ref: reference is missing but expected ${oldOid}`;
  return `cannot lock ref: is at ${stored} but expected ${oldOid}`;
}

/** Refuses creates that would need a file where there is a directory or the other way round (git's files backend). */
function refuseConflicts({ changes, current, below }: CommitRequest, refusals: (string | undefined)[]): void {
  const deleted = new Set<RefName>();
  const creates: { readonly index: number; readonly name: RefName }[] = [];
  for (const [index, { name, oldOid, newOid }] of changes.entries()) {
    if (refusals[index] !== undefined) continue;
    if (newOid === undefined) deleted.add(name);
    else if (oldOid === undefined) creates.push({ index, name });
  }
  if (creates.length === 0) return;
  const files = new Set<RefName>();
  /** Each directory with one of the refs in it. */
  const directories = new Map<RefName, RefName>();
  const add = (name: RefName): void => {
    files.add(name);
    for (const directory of directoriesOf(name)) if (!directories.has(directory)) directories.set(directory, name);
  };
  for (const name of current.keys()) if (!deleted.has(name)) add(name);
  for (const name of below) if (!deleted.has(name)) add(name);
  for (const { index, name } of creates) {
    const existing = directories.get(name) ?? directoriesOf(name).find((directory) => files.has(directory));
    if (existing === undefined) add(name);
    else refusals[index] = `cannot lock ref: '${existing}' exists; cannot create '${name}'`;
  }
}
