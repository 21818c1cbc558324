/**
 * What must hold at every step: looked at after each transaction of the store that changed refs or replicas, and at
 * each "ok". All of it is read past the program under test: from the tables and the simulated disks.
 */
import type { ObjectId, RefName } from "../../src/protocol/ref-name.ts";
import type { SimulatedDatabase } from "./database.ts";
import type { ReplicaDisk } from "./disk.ts";
import type { SimulatedNode } from "./node.ts";
import type { Objects } from "./objects.ts";
import type { Simulation } from "./simulation.ts";

export interface ReplicaRow {
  readonly repository_id: string;
  readonly node_id: string;
  readonly state: string;
  readonly generation: number;
  readonly missed_generation: number;
  readonly reason: string;
}

/** A repository as the tables have it. */
export interface CommittedState {
  readonly id: string;
  readonly name: string;
  readonly generation: number;
  readonly replicasWanted: number;
  readonly refs: ReadonlyMap<RefName, ObjectId>;
  readonly replicas: readonly ReplicaRow[];
}

const replicasSql =
  "select repository_id, node_id, state, generation, missed_generation, reason from replicas order by position";
const repositoriesSql = "select id, name, generation, replicas_wanted, ahead_generation from repositories order by id";
const refsSql = "select repository_id, name, oid from refs";
const allTables: ReadonlySet<string> = new Set(["repositories", "replicas", "refs"]);
const noTables: ReadonlySet<string> = new Set();
const noRefs: ReadonlyMap<RefName, ObjectId> = new Map();
/** Some violations of one kind tell as much as all. */
const violationsMax = 5;

export class Invariants {
  readonly violations: string[] = [];
  /** Transactions that were looked at. */
  looks = 0;
  /** READY replicas that were found complete. */
  completeReplicas = 0;
  readonly #sim: Simulation;
  readonly #database: SimulatedDatabase;
  readonly #objects: Objects;
  readonly #nodes: readonly SimulatedNode[];
  #committed: readonly CommittedState[] = [];
  #repositories: readonly Record<string, unknown>[] = [];
  #replicas: ReadonlyMap<string, readonly ReplicaRow[]> = new Map();
  #refs: ReadonlyMap<string, ReadonlyMap<RefName, ObjectId>> = new Map();
  /** The refs of each generation and the moment of its commit, by repository. */
  readonly #generations = new Map<string, { readonly refs: string; readonly step: number }[]>();
  readonly #closures = new Map<string, { readonly refs: string; readonly objects: ReadonlySet<ObjectId> }>();

  constructor(sim: Simulation, database: SimulatedDatabase, objects: Objects, nodes: readonly SimulatedNode[]) {
    this.#sim = sim;
    this.#database = database;
    this.#objects = objects;
    this.#nodes = nodes;
  }

  violated(what: string): void {
    this.#sim.trace(`VIOLATION ${what}`);
    if (this.violations.length < violationsMax && !this.violations.includes(what)) this.violations.push(what);
  }

  /**
   * Every repository of the store, as the last transaction left it. Not read from the tables: one that is still open
   * may have written there, and may be undone.
   */
  committed(): readonly CommittedState[] {
    return this.#committed;
  }

  /**
   * After each transaction that changed these tables, and at the end, when all of them are read again that no open
   * transaction writes to: READY means complete, and nothing is quarantined that is right.
   */
  look(changed: ReadonlySet<string> = this.#database.isIdle ? allTables : noTables): void {
    this.looks += 1;
    this.#committed = this.#read(changed);
    for (const state of this.#committed) {
      const refs = signature(state.refs);
      this.#noteGeneration(state, refs);
      for (const replica of state.replicas) {
        if (replica.state === "QUARANTINED")
          this.violated(`${place(state, replica)} was quarantined: ${replica.reason}`);
        if (replica.state === "READY") this.#checkComplete(state, refs, replica);
        else this.#nodeOf(replica)?.unnoticed.delete(state.id);
      }
    }
  }

  /** A read's answer must be the refs of one generation that was not yet replaced when it began, at `invoked`. */
  checkRead(repositoryId: string, refs: ReadonlyMap<RefName, ObjectId>, invoked: number): void {
    const answer = signature(refs);
    const known = this.#generations.get(repositoryId) ?? [];
    const current = known.findLastIndex(({ step }) => step < invoked);
    if (known.slice(Math.max(0, current)).some((generation) => generation.refs === answer)) return;
    this.violated(
      `a read of ${repositoryId} that began at generation ${current} gave the refs of none since: ${answer}`,
    );
  }

  /** The write quorum must hold durably what was acknowledged; disks that were lost since `sinceStep` count too. */
  checkAcknowledged(repositoryId: string, values: readonly ObjectId[], quorum: number, sinceStep: number): void {
    const needed = this.#objects.reach(values);
    const holders = this.#nodes.filter((node) => {
      const disks = [node.disk, ...node.lostDisks.filter(({ step }) => step >= sinceStep).map(({ disk }) => disk)];
      const copies = disks.flatMap((disk) => [
        ...disk.aside.filter((aside) => aside.repositoryId === repositoryId).map(({ replica }) => replica),
        ...(disk.replicas.get(repositoryId) === undefined ? [] : [disk.replicas.get(repositoryId) as ReplicaDisk]),
      ]);
      return copies.some((copy) => missingIn(copy, needed) === undefined);
    });
    if (holders.length < quorum) {
      this.violated(`ok was said when ${holders.length} nodes held the push durably, not ${quorum}`);
    }
  }

  closureOf(state: CommittedState, refs: string = signature(state.refs)): ReadonlySet<ObjectId> {
    const known = this.#closures.get(state.id);
    if (known?.refs === refs) return known.objects;
    const objects = this.#objects.reach(state.refs.values());
    this.#closures.set(state.id, { refs, objects });
    return objects;
  }

  #read(changed: ReadonlySet<string>): CommittedState[] {
    // Replicas go with their repository.
    if (changed.has("repositories") || changed.has("replicas")) {
      const rows = this.#rows(replicasSql) as unknown as readonly ReplicaRow[];
      this.#repositories = this.#rows(repositoriesSql);
      this.#replicas = Map.groupBy(rows, ({ repository_id: id }) => id);
    }
    if (changed.has("refs")) {
      const refs = Map.groupBy(this.#rows(refsSql), ({ repository_id: id }) => String(id));
      this.#refs = new Map([...refs].map(([id, rows]) => [id, refsOf(rows)]));
    }
    return this.#repositories.map((row) => {
      const id = String(row["id"]);
      if (Number(row["ahead_generation"]) >= 0) this.violated(`${id} is believed to have lost pushes`);
      return {
        id,
        name: String(row["name"]),
        generation: Number(row["generation"]),
        replicasWanted: Number(row["replicas_wanted"]),
        refs: this.#refs.get(id) ?? noRefs,
        replicas: this.#replicas.get(id) ?? [],
      };
    });
  }

  #noteGeneration(state: CommittedState, refs: string): void {
    const known = this.#generations.get(state.id) ?? [];
    this.#generations.set(state.id, known);
    if (known.length === state.generation) known.push({ refs, step: this.#sim.step });
    else if (known.length !== state.generation + 1) {
      this.violated(`the generation of ${state.id} went from ${known.length - 1} to ${state.generation}`);
    } else if (known.at(-1)?.refs !== refs) {
      this.violated(`refs of ${state.id} changed without a new generation`);
    }
  }

  #checkComplete(state: CommittedState, refs: string, replica: ReplicaRow): void {
    const node = this.#nodeOf(replica);
    // Its disk, or this copy, is gone, which the store does not know yet.
    if (node === undefined || node.unnoticed.has(state.id)) return;
    const copy = node.disk.replicas.get(state.id);
    const missing = copy === undefined ? "its directory" : missingIn(copy, this.closureOf(state, refs));
    if (missing === undefined) this.completeReplicas += 1;
    else this.violated(`${place(state, replica)} is READY on ${node.process.name} and lacks ${missing}`);
  }

  #nodeOf(replica: ReplicaRow): SimulatedNode | undefined {
    return this.#nodes.find(({ disk }) => disk.identity === replica.node_id);
  }

  #rows(sql: string): readonly Record<string, unknown>[] {
    return this.#database.execute(sql, []).rows as readonly Record<string, unknown>[];
  }
}

/** An object that is not durably there; what rotted does not count. */
export function missingIn(copy: ReplicaDisk, needed: ReadonlySet<ObjectId>): ObjectId | undefined {
  for (const id of needed) if (!copy.holdsDurably(id) && !copy.rotten.has(id)) return id;
  return undefined;
}

function refsOf(rows: readonly Record<string, unknown>[]): Map<RefName, ObjectId> {
  return new Map(rows.map(({ name, oid }) => [Buffer.from(name as Uint8Array).toString("latin1"), String(oid)]));
}

export function signature(refs: ReadonlyMap<RefName, ObjectId>): string {
  return [...refs]
    .map(([name, oid]) => `${name} ${oid.slice(0, 8)}`)
    .toSorted()
    .join(", ");
}

function place(state: CommittedState, replica: ReplicaRow): string {
  return `the replica of ${state.id} at generation ${state.generation} (node ${replica.node_id})`;
}
