/** The cluster's work in words: what it is, how long it takes, why it waits. Pure. */
import type { NodeView, RepairView } from "./data/api.ts";
import { duration } from "./format.ts";

/** What the repair has to do; the last ones where the controller says them. */
export type RepairItem = RepairView["work"][number] & {
  /** URL of where it moves; "" when that is not known. */
  readonly to?: string;
  /** 0 to 1; -1: not known. */
  readonly progress?: number;
  readonly startedAt?: number;
};

const kinds: Readonly<Record<string, string>> = {
  "catch-up": "Catch-up",
  apply: "Bringing refs up to date",
  add: "New replica",
  remove: "Removing a replica",
  move: "Move",
  verify: "Verification",
  wait: "Waiting",
};

export function kindText(kind: string): string {
  return kinds[kind] ?? kind;
}

export const isMove = ({ step }: { readonly step: string }): boolean => step === "move";

const progressLeast = 0.02;
const passedLeastMs = 1000;

/** In proportion; "" before there is something to go by. */
export function remaining(progress: number, startedAt: number, nowMs: number): string {
  const passedMs = nowMs - startedAt;
  if (startedAt < 0 || progress < progressLeast || progress >= 1 || passedMs < passedLeastMs) return "";
  return `about ${duration((passedMs / progress) * (1 - progress))} left`;
}

/** Why nothing is done; "" when it is only not its turn yet. `node`: where the replica is. */
export function whyItWaits(node: Pick<NodeView, "state"> | undefined, repairGraceMs: number | undefined): string {
  if (node === undefined) return "its node is not part of the cluster";
  if (node.state === "SUSPECT") return "its node does not answer";
  if (node.state !== "DEAD") return "";
  const grace = repairGraceMs === undefined ? "some time" : duration(repairGraceMs);
  return `its node is dead; it catches up when that is back, and is filled on another node when it stays away for ${grace}`;
}

/** What a piece of work waits for. What the controller says of a dead node is left out where `why` says more. */
export function waitingText({ step, reason }: Pick<RepairItem, "step" | "reason">, why: string): string {
  if (step !== "wait") return reason === "" ? kindText(step) : `${kindText(step)}: ${reason}`;
  const said = why === "" ? reason : reason.replace(/^its repository server is dead(?:; )?/, "");
  return [said, why].filter((part) => part !== "").join("; ") || "it is not its turn yet";
}

/** A node that is emptied, as far as this page has seen it. */
export interface Draining {
  /** Replicas on it when it was seen first. */
  readonly first: number;
  readonly left: number;
  readonly firstMs: number;
}

/** What is known of a node once `left` replicas are on it: more than before is a new beginning. */
export function drainedTo(known: Draining | undefined, left: number, nowMs: number): Draining {
  return known === undefined || left > known.first ? { first: left, left, firstMs: nowMs } : { ...known, left };
}

/** The part that has left, 0 to 1. */
export function drainProgress({ first, left }: Draining): number {
  return first === 0 ? 1 : (first - left) / first;
}
