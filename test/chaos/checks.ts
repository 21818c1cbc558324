/** What must be true when all is healed. */
import type { GitClient } from "./git-client.ts";
import type { History } from "./history.ts";
import type { Replicas } from "./replicas.ts";

export interface CheckOptions {
  readonly history: History;
  readonly replicas: Replicas;
  /** Every repository that was made and stays. */
  readonly repositories: readonly string[];
  /** Of each repository's last refs. */
  readonly reader: GitClient;
  readonly onViolation: (detail: string) => void;
}

export interface Checked {
  readonly repositories: number;
  readonly refs: number;
  readonly acknowledged: number;
  readonly lost: number;
  readonly diverged: number;
  readonly notLinearizable: number;
}

const finalReads = 6;
const pinoError = 50;
const pinoFatal = 60;

export async function checkCluster(options: CheckOptions): Promise<Checked> {
  const { history, replicas, repositories, reader, onViolation } = options;
  const views = new Map((await replicas.list()).map((view) => [view.name, view]));
  let refs = 0;
  let acknowledged = 0;
  let lost = 0;
  let diverged = 0;
  for (const name of repositories) {
    const view = views.get(name);
    if (view === undefined) {
      onViolation(`lost: the repository ${name}`);
      lost += 1;
      continue;
    }
    // Through both controllers, most likely.
    let told: ReadonlyMap<string, string> | undefined;
    for (let read = 0; read < finalReads; read += 1) told = await reader.lsRemote(name);
    if (told === undefined) onViolation(`${name} cannot be read at the end`);
    refs += told?.size ?? 0;
    const faults = await replicas.faultsOf(view);
    for (const fault of faults) onViolation(fault);
    diverged += faults.length;
    for (const [ref, values] of history.acknowledged(name)) {
      acknowledged += values.length;
      for (const replica of replicas.onDisks(view)) {
        const missing = await replicas.missing(replica, ref, values);
        lost += missing.length;
        if (missing.length > 0) onViolation(`lost: ${missing.join(", ")} of ${ref} in ${name} on ${replica.node}`);
      }
    }
  }
  const wrong = history.notLinearizable();
  for (const { repository, ref, detail } of wrong)
    onViolation(`${ref} of ${repository} is not linearizable: ${detail}`);
  return { repositories: repositories.length, refs, acknowledged, lost, diverged, notLinearizable: wrong.length };
}

/** Lines of a server's log that should not be there, each kind once. */
export function logTrouble(server: string, log: string): string[] {
  const found = new Map<string, { count: number; line: string }>();
  for (const line of log.split("\n")) {
    const kind = kindOf(line);
    if (kind === undefined) continue;
    const seen = found.get(kind);
    found.set(kind, { count: (seen?.count ?? 0) + 1, line: seen?.line ?? line });
  }
  return [...found].map(([kind, { count, line }]) => `${server} logged ${count} times ${kind}: ${line.slice(0, 1500)}`);
}

function kindOf(line: string): string | undefined {
  if (line === "") return undefined;
  let entry: { level?: number; msg?: string; err?: { code?: string } };
  try {
    entry = JSON.parse(line) as typeof entry;
  } catch {
    return /^\s|^\(|^Waiting/.test(line) ? undefined : "a line that is no log line";
  }
  if ((entry.level ?? 0) >= pinoFatal) return "a fatal error";
  const { msg = "", err } = entry;
  // What a full or read-only disk answers is no surprise here.
  if (["ENOSPC", "EROFS"].includes(err?.code ?? "")) return undefined;
  return (entry.level ?? 0) >= pinoError && msg.includes("an unexpected error") ? msg : undefined;
}
