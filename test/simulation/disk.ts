/** A simulated node's disk: who the node is, and its replicas, with what of them would survive a power loss. */
import type { RefUpdate } from "../../src/protocol/node-api.ts";
import type { ObjectId, RefName } from "../../src/protocol/ref-name.ts";
import type { Random } from "./random.ts";

export class ReplicaDisk {
  name: string;
  defaultBranch: RefName;
  /** -1 while it is being filled. */
  generation: number;
  readonly refs = new Map<RefName, ObjectId>();
  /** Objects that git finds. */
  readonly objects = new Set<ObjectId>();
  /** Those of them that a power loss may take. */
  readonly unsynced = new Set<ObjectId>();
  /** What the disk lost by itself, and has not got back. */
  readonly rotten = new Set<ObjectId>();
  /** Ref updates that are being written. */
  writing: readonly RefUpdate[] = [];

  constructor(name: string, defaultBranch: RefName, generation: number) {
    this.name = name;
    this.defaultBranch = defaultBranch;
    this.generation = generation;
  }

  add(objects: Iterable<ObjectId>): void {
    for (const id of objects) {
      if (this.objects.has(id)) continue;
      this.objects.add(id);
      this.unsynced.add(id);
    }
  }

  sync(): void {
    this.unsynced.clear();
    for (const id of this.rotten) if (this.objects.has(id)) this.rotten.delete(id);
  }

  holdsDurably(id: ObjectId): boolean {
    return this.objects.has(id) && !this.unsynced.has(id);
  }

  setRef([name, id]: RefUpdate): void {
    if (id === null) this.refs.delete(name);
    else this.refs.set(name, id);
  }

  /** What was being written is there in part; after a power loss, so is what was not synced. */
  crash(powerLoss: boolean, random: Random): void {
    for (const update of this.writing) if (random.chance(0.5)) this.setRef(update);
    this.writing = [];
    if (!powerLoss) return;
    for (const id of this.unsynced) if (random.chance(0.5)) this.objects.delete(id);
    this.unsynced.clear();
  }
}

export interface AsideReplica {
  readonly entry: string;
  readonly repositoryId: string;
  readonly replica: ReplicaDisk;
  readonly reason: string;
  /** By the node's clock. */
  readonly movedMs: number;
}

export class NodeDisk {
  /** The node's id. */
  readonly identity: string;
  readonly replicas = new Map<string, ReplicaDisk>();
  /** Moved aside, newest last. */
  aside: AsideReplica[] = [];

  constructor(identity: string) {
    this.identity = identity;
  }

  retire(repositoryId: string, reason: string, movedMs: number): void {
    const replica = this.replicas.get(repositoryId);
    if (replica === undefined) return;
    this.replicas.delete(repositoryId);
    const entry = `${repositoryId}.${movedMs}.${reason.replaceAll(" ", "-")}.git`;
    this.aside.push({ entry, repositoryId, replica, reason, movedMs });
  }
}
