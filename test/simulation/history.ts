/** What clients did to each ref and were told, for the checker of linearizability. */
import type { ObjectId, RefName } from "../../src/protocol/ref-name.ts";
import { checkRegister, type RegisterOperation } from "../support/linearizability.ts";
import type { PushReport, PushRequest } from "./controller.ts";
import type { Simulation } from "./simulation.ts";

export class History {
  readonly #sim: Simulation;
  /** Operations by repository and ref. */
  readonly #byRef = new Map<string, RegisterOperation[]>();
  /** Reads tell of every ref, also of those that nobody pushed to so far. */
  readonly #reads: { repositoryId: string; refs: ReadonlyMap<RefName, ObjectId>; operation: RegisterOperation }[] = [];
  readonly counts = { ok: 0, mismatch: 0, failed: 0, unknown: 0, reads: 0 };

  constructor(sim: Simulation) {
    this.#sim = sim;
  }

  /** The present moment, for `invoked`. */
  now(): number {
    return this.#sim.step;
  }

  readAll(process: string, repositoryId: string, refs: ReadonlyMap<RefName, ObjectId>, invoked: number): void {
    this.counts.reads += 1;
    const operation = { process, kind: "read", value: null, invoked, returned: this.now(), outcome: "ok" } as const;
    this.#reads.push({ repositoryId, refs, operation });
  }

  /** `report` is undefined when nobody knows, and "nothing" when it is certain that nothing has changed. */
  push(
    process: string,
    repositoryId: string,
    push: PushRequest,
    report: PushReport | "nothing" | undefined,
    invoked: number,
  ): void {
    for (const { name, oldOid, newOid } of push.commands) {
      const outcome = outcomeOf(report, name);
      this.counts[outcome] += 1;
      this.#of(repositoryId, name).push({
        process,
        kind: "write",
        expected: oldOid,
        value: newOid,
        invoked,
        returned: this.now(),
        outcome,
      });
    }
  }

  /** Each ref whose history no order explains. */
  violations(): string[] {
    for (const { repositoryId, refs } of this.#reads) for (const name of refs.keys()) this.#of(repositoryId, name);
    const found: string[] = [];
    for (const [key, operations] of this.#byRef) {
      const [repositoryId = "", name = ""] = key.split(" ");
      const reads = this.#reads.filter((read) => read.repositoryId === repositoryId);
      const all = [
        ...operations,
        ...reads.map(({ refs, operation }) => ({ ...operation, value: refs.get(name) ?? null })),
      ];
      const verdict = checkRegister(all);
      if (verdict.ok) continue;
      const stuck = verdict.stuck.map(textOf).join("; ");
      found.push(
        `not linearizable: ${name} of ${repositoryId}: at ${short(verdict.value)} none of ${stuck} can be next`,
      );
    }
    return found;
  }

  #of(repositoryId: string, name: RefName): RegisterOperation[] {
    const key = `${repositoryId} ${name}`;
    const known = this.#byRef.get(key) ?? [];
    this.#byRef.set(key, known);
    return known;
  }
}

function outcomeOf(report: PushReport | "nothing" | undefined, name: RefName): RegisterOperation["outcome"] {
  if (report === "nothing") return "failed";
  if (report === undefined || !report.refusals.has(name)) return "unknown";
  const refusal = report.refusals.get(name);
  if (refusal === undefined) return "ok";
  if (/^(?:cannot lock ref: (?:is at|reference is missing)|reference already exists)/.test(refusal)) return "mismatch";
  return refusal.includes("fetch to see whether the push took effect") ? "unknown" : "failed";
}

function textOf({ process, kind, expected, value, invoked, returned, outcome }: RegisterOperation): string {
  const what = kind === "read" ? `read ${short(value)}` : `write ${short(expected ?? null)}..${short(value)}`;
  return `${process} ${what} [${invoked}, ${returned}] ${outcome}`;
}

function short(value: string | null): string {
  return value?.slice(0, 8) ?? "none";
}
