/** What a push's staging came to, as a value: who holds it, or why nobody shall. Pure. */
import type { StageResult, TipResult } from "../protocol/node-api.ts";
import type { WriteTarget } from "./router.ts";
import type { StagedPack } from "./staging.ts";

export type StagingVerdict =
  /** These nodes hold every object of the tips that `tips` does not call missing. */
  | { readonly kind: "staged"; readonly nodeIds: readonly string[]; readonly tips: readonly TipResult[] }
  /** `unpack` and `refusal` are git's words for report-status: of the pack, and of each ref. */
  | { readonly kind: "refused"; readonly unpack: string; readonly refusal: string };

type Staged = Extract<StageResult, { readonly kind: "staged" }>;

/**
 * The READY replicas decide, and those that agree with the most of them count. A replica that failed, or that lacks
 * what the others have, is simply not among `nodeIds`: what that means for its state is the commit's to say.
 *
 * Invariant: a client's bad pack changes no node's state, so a pack that too few READY replicas accept is refused
 * before the commit.
 */
export function judgeStaging(targets: readonly WriteTarget[], staged: StagedPack, writeQuorum: number): StagingVerdict {
  if (staged.tooLarge) {
    return { kind: "refused", unpack: "pack exceeds maximum allowed size", refusal: "unpacker error" };
  }
  if (staged.packBytes === 0) {
    return { kind: "refused", unpack: "eof before pack header was fully read", refusal: "unpacker error" };
  }
  // Rather than go on without it, which would make it STALE and give it even more to do, the push is to come again.
  const busy = targets.find(({ nodeId, ready }) => ready && staged.results.get(nodeId)?.kind === "busy");
  if (busy !== undefined) return { kind: "refused", ...busyWords };
  const groups = new Map<
    string,
    { readonly tips: readonly TipResult[]; readonly ready: string[]; readonly all: string[] }
  >();
  for (const target of targets) {
    const result = staged.results.get(target.nodeId);
    if (result?.kind !== "staged") continue;
    const key = missingKey(result);
    const group = groups.get(key) ?? { tips: result.tips, ready: [], all: [] };
    group.all.push(target.nodeId);
    if (target.ready) group.ready.push(target.nodeId);
    groups.set(key, group);
  }
  const best = [...groups.values()].reduce<{ tips: readonly TipResult[]; ready: string[]; all: string[] } | undefined>(
    (most, group) => (most === undefined || group.ready.length > most.ready.length ? group : most),
    undefined,
  );
  if (best !== undefined && best.ready.length >= writeQuorum) {
    return { kind: "staged", nodeIds: best.all, tips: best.tips };
  }
  return { kind: "refused", ...refusalWords(targets, staged, best?.ready.length ?? 0, writeQuorum) };
}

const busyWords = {
  unpack: "the cluster has as much work as it may take; nothing has changed, try again shortly",
  refusal: "unpacker error",
};

/** Whether a replica lacks nothing. */
export function agrees(tips: readonly TipResult[]): boolean {
  return tips.every(({ type }) => type !== "missing");
}

/** Nodes of the READY replicas that lack what another READY one has: they found a pack bad, or tips missing, that it has not. */
export function lackingReplicas(targets: readonly WriteTarget[], staged: StagedPack): readonly string[] {
  const ready = targets.filter((target) => target.ready).map(({ nodeId }) => nodeId);
  const tipsOf = (nodeId: string): readonly TipResult[] | undefined => {
    const result = staged.results.get(nodeId);
    return result?.kind === "staged" ? result.tips : undefined;
  };
  const found = ready.flatMap((nodeId) => tipsOf(nodeId) ?? []);
  // Where nobody could use the pack, it is the client's affair.
  if (found.every(({ type }) => type === "missing")) return [];
  const isFound = (index: number): boolean =>
    ready.some((nodeId) => (tipsOf(nodeId)?.[index]?.type ?? "missing") !== "missing");
  return ready.filter(
    (nodeId) =>
      staged.results.get(nodeId)?.kind === "bad-pack" ||
      tipsOf(nodeId)?.some(({ type }, index) => type === "missing" && isFound(index)) === true,
  );
}

/** Replicas agree when the same tips are missing on them. */
function missingKey(result: Staged): string {
  return result.tips.map((tip) => (tip.type === "missing" ? "0" : "1")).join("");
}

function refusalWords(
  targets: readonly WriteTarget[],
  staged: StagedPack,
  readyHolders: number,
  writeQuorum: number,
): { unpack: string; refusal: string } {
  const ready = targets.filter((target) => target.ready);
  const badPacks = ready.flatMap((target) => {
    const result = staged.results.get(target.nodeId);
    return result?.kind === "bad-pack" ? [result.message] : [];
  });
  // Whoever read the pack to its end and found it bad is right; the others only failed to read it.
  const first = badPacks[0];
  if (first !== undefined && badPacks.length >= readyHolders) return { unpack: first, refusal: "unpacker error" };
  const detail = `only ${readyHolders} of the ${writeQuorum} replicas needed could store it; try again`;
  return { unpack: detail, refusal: "unpacker error" };
}
