/** A run in a table. */
import type { Checked } from "./checks.ts";

export interface Findings extends Checked {
  readonly options: { readonly minutes: number; readonly seed: number; readonly database: string };
  /** Operations: "push ok" to how often. */
  readonly counts: ReadonlyMap<string, number>;
  readonly faults: ReadonlyMap<string, number>;
  readonly skipped: ReadonlyMap<string, number>;
  readonly leftOut: readonly string[];
  /** From healing until the last operation that was under way had returned. */
  readonly clientsSeconds: number;
  /** From healing until every replica was READY at the newest generation; undefined: not in time. */
  readonly wholeSeconds: number | undefined;
}

export function summary(findings: Findings): string {
  const { counts, faults, skipped, leftOut, wholeSeconds } = findings;
  const rows: string[] = ["", "operations"];
  for (const [what, count] of [...counts].toSorted(([a], [b]) => (a < b ? -1 : 1))) rows.push(row(what, count));
  rows.push("", "faults");
  for (const [kind, count] of [...faults].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const without = skipped.get(kind) ?? 0;
    rows.push(row(kind, without === 0 ? count : `${count} (and ${without} without an occasion)`));
  }
  for (const [kind, count] of skipped)
    if (!faults.has(kind)) rows.push(row(kind, `0 (and ${count} without an occasion)`));
  if (leftOut.length > 0) rows.push(row("left out", leftOut.join(", ")));
  rows.push(
    "",
    row("repositories at the end", findings.repositories),
    row("refs at the end", findings.refs),
    row("acknowledged pushes looked for", findings.acknowledged),
    row("seconds from healing to the last answer", findings.clientsSeconds.toFixed(1)),
    row("seconds from healing to all READY", wholeSeconds?.toFixed(1) ?? "not in time"),
    row("lost", findings.lost),
    row("diverged", findings.diverged),
    row("not linearizable", findings.notLinearizable),
    "",
    "",
  );
  return rows.join("\n");
}

function row(what: string, value: string | number): string {
  return `  ${what.padEnd(44)} ${value}`;
}
