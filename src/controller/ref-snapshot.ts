/**
 * A repository's refs at one generation, cached together with the answers that were written from them. Not a
 * replica's refs: these come from the store.
 *
 * Invariant: what `get` returns is never older than the generation that its caller has read from the store, unless the
 * setting `staleReads` allows it and the store does not answer.
 */
import { LRUCache } from "lru-cache";
import { GitmeshError } from "../base/errors.ts";
import type { RefSet } from "../protocol/advertisement.ts";
import type { Repository, RefLogEntry, Store, StoredRef } from "../store/store.ts";
import { isStoreUnavailable } from "./known-repositories.ts";

export interface RefSnapshot extends RefSet {
  readonly generation: number;
  /** The answer of this name, written by `write` at its first use and kept while the refs and HEAD are the same. */
  encoded(name: string, write: (set: RefSet) => Buffer): Buffer;
}

/** A snapshot so far behind is read anew rather than brought up to date from the ref log. */
const logEntriesMax = 200;
/** Estimated memory of a ref apart from its names: object, id, peeled id. */
const refBytes = 220;
const encodedAnswersMax = 16;
/** One that was under way, one of our own, and some to spare. */
const readsMax = 5;

interface Cached {
  readonly generation: number;
  readonly refs: readonly StoredRef[];
  readonly refsBytes: number;
  /** By HEAD and name of the answer. */
  readonly encoded: Map<string, Buffer>;
  encodedBytes: number;
}

export class RefSnapshots {
  readonly #store: Store;
  readonly #cache: LRUCache<string, Cached>;
  readonly #loading = new Map<string, Promise<Cached>>();

  readonly #staleReads: boolean;

  /** Keeps about `bytesMax` bytes. `staleReads`: while the store does not answer, `get` gives what was read last. */
  constructor(store: Store, bytesMax: number, staleReads = false) {
    this.#store = store;
    this.#staleReads = staleReads;
    this.#cache = new LRUCache({
      maxSize: bytesMax,
      sizeCalculation: (cached) => cached.refsBytes + cached.encodedBytes,
    });
  }

  /** The refs of a repository that was just read from the store. Throws "repository-not-found" if it is gone by now. */
  async get(repository: Repository): Promise<RefSnapshot> {
    const { id, objectFormat, defaultBranch, generation } = repository;
    let cached = this.#cache.get(id);
    // What is being loaded may have begun before this generation was committed.
    for (let reads = 0; cached === undefined || cached.generation < generation; reads += 1) {
      if (reads === readsMax) throw new GitmeshError("internal", `the refs of ${id} are older than its generation`);
      try {
        cached = await this.#load(id, cached);
      } catch (error) {
        if (!this.#staleReads || cached === undefined || !isStoreUnavailable(error)) throw error;
        break;
      }
    }
    const { refs } = cached;
    const found = cached;
    const set: RefSet = { objectFormat, defaultBranch, refs };
    return {
      ...set,
      generation: found.generation,
      encoded: (name, write) => this.#encoded(id, found, `${defaultBranch} ${name}`, () => write(set)),
    };
  }

  /** Forgets everything: after a restore of the store its generations may mean something else. */
  clear(): void {
    this.#cache.clear();
  }

  #load(id: string, old: Cached | undefined): Promise<Cached> {
    const running = this.#loading.get(id);
    if (running !== undefined) return running;
    const loading = this.#read(id, old)
      .then((cached) => {
        this.#cache.set(id, cached);
        return cached;
      })
      .catch((error: unknown) => {
        if (!isStoreUnavailable(error)) this.#cache.delete(id);
        throw error;
      })
      .finally(() => this.#loading.delete(id));
    this.#loading.set(id, loading);
    return loading;
  }

  async #read(id: string, old: Cached | undefined): Promise<Cached> {
    if (old !== undefined) {
      const entries = await this.#store.readRefLog(id, old.generation, logEntriesMax + 1);
      const last = entries.at(-1);
      const contiguous = entries[0]?.generation === old.generation + 1;
      if (last !== undefined && contiguous && entries.length <= logEntriesMax) {
        return cachedOf(last.generation, mergeRefs(old.refs, entries));
      }
    }
    const { generation, refs } = await this.#store.readRefs(id);
    return cachedOf(generation, refs);
  }

  #encoded(id: string, cached: Cached, key: string, write: () => Buffer): Buffer {
    const known = cached.encoded.get(key);
    if (known !== undefined) return known;
    const bytes = write();
    if (cached.encoded.size >= encodedAnswersMax) return bytes;
    cached.encoded.set(key, bytes);
    cached.encodedBytes += bytes.length;
    // Its size has changed; a newer one may have taken its place.
    if (this.#cache.peek(id) === cached) this.#cache.set(id, cached, { size: cached.refsBytes + cached.encodedBytes });
    return bytes;
  }
}

function cachedOf(generation: number, refs: readonly StoredRef[]): Cached {
  let refsBytes = 1000;
  for (const ref of refs) refsBytes += refBytes + ref.name.length;
  return { generation, refs, refsBytes, encoded: new Map(), encodedBytes: 0 };
}

/** Refs after these successive entries; both lists in bytewise order of name. */
export function mergeRefs(refs: readonly StoredRef[], entries: readonly RefLogEntry[]): readonly StoredRef[] {
  const changed = new Map<string, StoredRef | undefined>();
  for (const { changes } of entries) {
    for (const { name, newOid, peeled } of changes) {
      changed.set(name, newOid === undefined ? undefined : { name, oid: newOid, peeled });
    }
  }
  const changes = [...changed].toSorted(([one], [other]) => (one < other ? -1 : 1));
  const merged: StoredRef[] = [];
  let next = 0;
  for (const [name, ref] of changes) {
    for (let old = refs[next]; old !== undefined && old.name < name; old = refs[next]) {
      merged.push(old);
      next += 1;
    }
    if (refs[next]?.name === name) next += 1;
    if (ref !== undefined) merged.push(ref);
  }
  for (let old = refs[next]; old !== undefined; old = refs[next]) {
    merged.push(old);
    next += 1;
  }
  return merged;
}
