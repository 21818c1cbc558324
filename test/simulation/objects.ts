/**
 * Git's objects as far as the cluster cares: ids, and what each points to. An id stands for its content, so what it
 * points to is the same wherever it is.
 */
import type { ObjectId } from "../../src/protocol/ref-name.ts";

export class Objects {
  readonly #parents = new Map<ObjectId, readonly ObjectId[]>();

  /** A new object that points to these. */
  create(parents: readonly ObjectId[]): ObjectId {
    const id = (this.#parents.size + 1).toString(16).padStart(8, "0").padEnd(40, "0");
    this.#parents.set(id, parents);
    return id;
  }

  parentsOf(id: ObjectId): readonly ObjectId[] {
    const parents = this.#parents.get(id);
    if (parents === undefined) throw new Error(`no object ${id} was ever made`);
    return parents;
  }

  /** All that these reach, themselves included, without what is in `except` and without looking behind it. */
  reach(tips: Iterable<ObjectId>, except: ReadonlySet<ObjectId> = new Set()): Set<ObjectId> {
    const reached = new Set<ObjectId>();
    const left = [...tips];
    for (let id = left.pop(); id !== undefined; id = left.pop()) {
      if (reached.has(id) || except.has(id)) continue;
      reached.add(id);
      left.push(...this.parentsOf(id));
    }
    return reached;
  }
}

/** A pack as it is sent: the objects in it, and those that it rests on (a thin pack's). */
export interface Pack {
  readonly objects: readonly ObjectId[];
  readonly bases: readonly ObjectId[];
}

export function packBytes(pack: Pack): Buffer {
  return Buffer.from(`PACK${JSON.stringify(pack)}`);
}

/** Undefined when it is none, or a broken one. */
export function parsePack(bytes: Buffer): Pack | undefined {
  try {
    return JSON.parse(bytes.toString("latin1", 4)) as Pack;
  } catch {
    return undefined;
  }
}
