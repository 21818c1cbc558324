/** What clients did and were told, and what can be concluded from it: whether each ref was one register. */
import { checkRegister, type RegisterOperation } from "../support/linearizability.ts";

export type Outcome = RegisterOperation["outcome"];

interface Read {
  readonly process: string;
  readonly refs: ReadonlyMap<string, string>;
  /** Only refs that begin so were asked for. */
  readonly prefix: string;
  readonly invoked: number;
  readonly returned: number;
}

interface Write extends RegisterOperation {
  readonly ref: string;
}

export interface NotLinearizable {
  readonly repository: string;
  readonly ref: string;
  readonly detail: string;
}

/** Milliseconds since the process started: one clock for all clients. */
export function nowMs(): number {
  return performance.now();
}

/** One repository's. */
class RepositoryHistory {
  readonly reads: Read[] = [];
  readonly writes: Write[] = [];

  get refs(): string[] {
    return [...new Set(this.writes.map(({ ref }) => ref))].toSorted();
  }

  operations(ref: string): RegisterOperation[] {
    const reads = this.reads
      .filter(({ prefix }) => ref.startsWith(prefix))
      .map(({ process, refs, invoked, returned }): RegisterOperation => {
        return { process, kind: "read", value: refs.get(ref) ?? null, invoked, returned, outcome: "ok" };
      });
    return [...this.writes.filter((write) => write.ref === ref), ...reads];
  }
}

export class History {
  readonly #repositories = new Map<string, RepositoryHistory>();
  /** "push ok" and the like, to how often. */
  readonly counts = new Map<string, number>();

  /** An operation of a kind, for the summary. */
  count(kind: string, outcome: string): void {
    const key = `${kind} ${outcome}`;
    this.counts.set(key, (this.counts.get(key) ?? 0) + 1);
  }

  read(repository: string, read: Read): void {
    this.#of(repository).reads.push(read);
  }

  write(repository: string, write: Write): void {
    this.#of(repository).writes.push(write);
  }

  /** Values that were acknowledged, by ref, for refs of which nobody ever asked to delete one. */
  acknowledged(repository: string): ReadonlyMap<string, readonly string[]> {
    const { writes } = this.#of(repository);
    const deleted = new Set(writes.filter(({ value }) => value === null).map(({ ref }) => ref));
    const found = new Map<string, string[]>();
    for (const { ref, value, outcome } of writes) {
      if (outcome !== "ok" || value === null || deleted.has(ref)) continue;
      found.set(ref, [...(found.get(ref) ?? []), value]);
    }
    return found;
  }

  /** Refs whose operations no order explains. */
  notLinearizable(): NotLinearizable[] {
    const found: NotLinearizable[] = [];
    for (const [repository, history] of this.#repositories) {
      for (const ref of history.refs) {
        const verdict = checkRegister(history.operations(ref));
        if (verdict.ok) continue;
        const stuck = verdict.stuck.map((operation) => describe(operation)).join("\n  ");
        found.push({ repository, ref, detail: `at ${verdict.value ?? "no value"} none of these fits:\n  ${stuck}` });
      }
    }
    return found;
  }

  /** Everything, for a look at a violation. */
  toJson(): string {
    const repositories = [...this.#repositories].map(([name, { reads, writes }]) => {
      return { name, writes, reads: reads.map((read) => ({ ...read, refs: Object.fromEntries(read.refs) })) };
    });
    return JSON.stringify(repositories, null, 1);
  }

  #of(repository: string): RepositoryHistory {
    let history = this.#repositories.get(repository);
    if (history === undefined) {
      history = new RepositoryHistory();
      this.#repositories.set(repository, history);
    }
    return history;
  }
}

function describe({ process, kind, expected, value, invoked, returned, outcome }: RegisterOperation): string {
  const what = kind === "read" ? `read ${value ?? "nothing"}` : `${expected ?? "nothing"} -> ${value ?? "nothing"}`;
  return `${process}: ${what} (${outcome}), ${invoked.toFixed(0)} to ${returned.toFixed(0)} ms`;
}
