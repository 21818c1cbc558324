/**
 * What an adoption would do, as a value: the store's record and the copies on the nodes in, plan out. Pure.
 *
 * An adoption takes a repository's refs from its replicas, when the store has lost some: it was restored from a backup.
 */
import { createHash } from "node:crypto";
import type { RefChange, RefsAtGeneration, Repository, StoredRef } from "../store/store.ts";

/** One copy of the repository on a node's disk, or a place of a replica that could not be looked at. */
export interface FoundCopy {
  readonly nodeId: string;
  readonly url: string;
  /** The store has a replica there. */
  readonly placed: boolean;
  /** The store has it as READY. */
  readonly ready: boolean;
  readonly content: CopyContent | undefined;
  /** Why there is no content; "" when there is. */
  readonly problem: string;
}

export interface CopyContent {
  readonly name: string;
  readonly generation: number;
  readonly objectFormat: "sha1" | "sha256";
  readonly defaultBranch: string;
  /** In bytewise order of name. */
  readonly refs: readonly StoredRef[];
  /** Everything that its refs reach is there. */
  readonly complete: boolean;
}

export interface AdoptionInput {
  readonly repositoryId: string;
  readonly name: string;
  /** undefined: the store does not have it. */
  readonly stored: { readonly repository: Repository; readonly refs: RefsAtGeneration } | undefined;
  readonly copies: readonly FoundCopy[];
  /** Node that a person chose. */
  readonly from: string | undefined;
}

export interface PlannedCopy {
  readonly nodeId: string;
  readonly url: string;
  /** -1 when it is not known or there is none. */
  readonly generation: number;
  /** Digest of its refs, to see which are equal; "" when they are not known. */
  readonly refs: string;
  readonly complete: boolean;
  /**
   * READY: it proves itself. STALE: it catches up. REFILLED: it disagrees or lacks objects, so it is moved aside and filled
   * anew. LEFT: it is no replica, and stays where it is.
   */
  readonly after: "READY" | "STALE" | "REFILLED" | "LEFT";
  readonly problem: string;
}

export interface AdoptionPlan {
  readonly repositoryId: string;
  readonly name: string;
  readonly kind: "behind" | "orphan";
  /** -1 when the store does not have it. */
  readonly storeGeneration: number;
  /** The latest that the store knew any copy to be at; -1 when none was ahead of it. */
  readonly aheadGeneration: number;
  /** Of what is adopted; -1 when that is not clear. */
  readonly generation: number;
  /** The repository's afterwards. */
  readonly newGeneration: number;
  readonly changes: readonly RefChange[];
  readonly copies: readonly PlannedCopy[];
  /** The content that is adopted. */
  readonly content: CopyContent | undefined;
  /** Why it cannot be done as it is, as a sentence; "" when it can. */
  readonly problem: string;
  /** Names exactly this plan. */
  readonly digest: string;
}

/**
 * Generations go on this far above the highest that was seen: a node that cannot be reached now may be at a later one,
 * and must not be taken for up to date when it returns.
 */
export const generationGap = 1000;

/** What is told to whoever pushes to a repository that is behind its replicas. */
export function behindSentence({ name }: { readonly name: string }): string {
  return `the metadata store has lost pushes that replicas of ${name} have; an administrator must run: gitmesh repo adopt ${name}`;
}

export function planAdoption(input: AdoptionInput): AdoptionPlan {
  const { repositoryId, name, stored, copies, from } = input;
  const chosen = choose(input);
  const content = chosen.content;
  const highest = Math.max(
    stored?.repository.generation ?? -1,
    stored?.repository.aheadGeneration ?? -1,
    ...copies.map((copy) => copy.content?.generation ?? -1),
  );
  const digestOfContent = content === undefined ? "" : refsDigest(content.refs);
  const planned = copies.map((copy): PlannedCopy => {
    const digest = copy.content === undefined ? "" : refsDigest(copy.content.refs);
    const complete = copy.content?.complete === true;
    const same = content !== undefined && digest === digestOfContent && copy.content?.generation === content.generation;
    return {
      nodeId: copy.nodeId,
      url: copy.url,
      generation: copy.content?.generation ?? -1,
      refs: digest.slice(0, 12),
      complete,
      after: same && complete ? "READY" : afterwards(copy, content),
      problem: copy.problem,
    };
  });
  const plan = {
    repositoryId,
    name,
    kind: stored === undefined ? ("orphan" as const) : ("behind" as const),
    storeGeneration: stored?.repository.generation ?? -1,
    aheadGeneration: stored?.repository.aheadGeneration ?? -1,
    generation: content?.generation ?? -1,
    newGeneration: highest + generationGap,
    changes: content === undefined ? [] : changesBetween(stored?.refs.refs ?? [], content.refs),
    copies: planned,
    content,
    problem: chosen.problem,
  };
  const exact = [
    repositoryId,
    name,
    plan.storeGeneration,
    plan.generation,
    plan.newGeneration,
    digestOfContent,
    from ?? "",
    ...planned.map(({ nodeId, generation, refs, after }) => [nodeId, generation, refs, after].join(" ")),
  ];
  return { ...plan, digest: createHash("sha256").update(exact.join("\n")).digest("hex").slice(0, 32) };
}

/**
 * Of a copy that is not taken over as it is. One that lags and is whole has nothing that is not in the adopted one; one
 * that was not looked at may have, and is kept aside.
 */
function afterwards(copy: FoundCopy, adopted: CopyContent | undefined): "STALE" | "REFILLED" | "LEFT" {
  if (!copy.placed) return "LEFT";
  if (copy.content === undefined || copy.content.generation < 0) return "REFILLED";
  const lags = copy.content.generation < (adopted?.generation ?? -1);
  return lags && copy.content.complete ? "STALE" : "REFILLED";
}

interface Choice {
  readonly content: CopyContent | undefined;
  readonly problem: string;
}

/** What a person chose, or what the majority of all copies has at the highest generation that any copy has. */
function choose({ stored, copies, from, name }: AdoptionInput): Choice {
  const nothing = (problem: string): Choice => ({ content: undefined, problem });
  const known = copies.filter(({ content }) => content !== undefined && content.generation >= 0);
  if (known.length === 0) return nothing(`no repository server that can be reached has a usable copy of ${name}`);
  if (stored !== undefined && stored.repository.aheadGeneration <= stored.repository.generation) {
    const ahead = known.some(({ content }) => (content?.generation ?? -1) > stored.repository.generation);
    // Of a repository whose complete replicas are all lost, a person may take over an older one.
    const readyKnown = known.some(({ ready }) => ready);
    if (!ahead && (readyKnown || from === undefined))
      return nothing(`no replica of ${name} is ahead of the metadata store: there is nothing to adopt`);
  }
  if (from !== undefined) {
    const copy = known.find((each) => each.nodeId === from);
    if (copy?.content === undefined) return nothing("the repository server that was chosen has no usable copy");
    if (!copy.content.complete) return nothing(`the copy on ${copy.url} lacks objects that its refs reach`);
    return { content: copy.content, problem: "" };
  }
  const highest = Math.max(...known.map(({ content }) => content?.generation ?? -1));
  const newest = known.filter(({ content }) => content?.generation === highest);
  const contents = newest.flatMap(({ content }) => (content === undefined ? [] : [content]));
  const different = new Set(contents.map(({ refs }) => refsDigest(refs))).size > 1;
  if (different) return nothing(`the newest copies of ${name} differ: choose one with --from`);
  if (2 * newest.length <= copies.length) {
    const some = `only ${newest.length} of ${copies.length} copies of ${name} are known to be at generation ${highest}`;
    return nothing(`${some}: wait for the others, or choose one with --from`);
  }
  const complete = contents.find((content) => content.complete);
  if (complete === undefined) return nothing(`no copy of ${name} has every object that its refs reach`);
  return { content: complete, problem: "" };
}

function refsDigest(refs: readonly StoredRef[]): string {
  const hash = createHash("sha256");
  for (const { name, oid } of refs) hash.update(`${oid} ${name}\n`, "latin1");
  return hash.digest("hex");
}

/** What makes `from` into `to`. */
function changesBetween(from: readonly StoredRef[], to: readonly StoredRef[]): RefChange[] {
  const old = new Map(from.map(({ name, oid }) => [name, oid]));
  const changes: RefChange[] = [];
  for (const { name, oid, peeled } of to) {
    const oldOid = old.get(name);
    old.delete(name);
    if (oldOid !== oid) changes.push({ name, oldOid, newOid: oid, peeled });
  }
  for (const [name, oldOid] of old) changes.push({ name, oldOid, newOid: undefined, peeled: undefined });
  return changes;
}
