/**
 * A repository server as src/node is towards controllers, without git and without files: staging, applying, catching
 * up, being fetched from, registering. What the real one does on the disk is done here in the same order, with time
 * passing in between, so that a crash may come between any two.
 */
import { NodeCallError } from "../../src/controller/node-call-error.ts";
import {
  hashOfRefs,
  type ApplyRequest,
  type CatchUpHeader,
  type CatchUpResult,
  type CopiesResponse,
  type FetchTipsRequest,
  type RefUpdate,
  type ReplicaDescription,
  type ReplicaList,
  type ReplicaStatus,
  type RetireRequest,
  type StageHeader,
  type StageResult,
  type TipResult,
  type VerifyRequest,
  type VerifyResult,
} from "../../src/protocol/node-api.ts";
import type { ObjectId, RefName } from "../../src/protocol/ref-name.ts";
import { NodeDisk, ReplicaDisk } from "./disk.ts";
import type { Network } from "./network.ts";
import { parsePack, type Objects } from "./objects.ts";
import type { Process } from "./process.ts";
import type { Random } from "./random.ts";

export interface NodeWorld {
  readonly network: Network;
  readonly objects: Objects;
  readonly random: Random;
  /** The node that has this URL. */
  readonly nodeAt: (url: string) => SimulatedNode | undefined;
}

export type ApplyAnswer = { readonly kind: "applied" | "behind"; readonly generation: number };

/** What a source says that lacks, or cannot read, what it was asked for. */
const sourceFailures = new Set(["not-our-ref", "unreadable"]);
/** Peers give up on each other after this long. */
const peerIdleMs = 10_000;

export class SimulatedNode {
  readonly process: Process;
  readonly url: string;
  disk: NodeDisk;
  /** Mean time of one write, ms. */
  diskMs = 1;
  /** Writes of objects fail. */
  diskFull = false;
  /** Emptied disks that this node had, with the moment of the loss (a step of the simulation). */
  readonly lostDisks: { readonly disk: NodeDisk; readonly step: number }[] = [];
  /** Repositories whose copy is gone, which the store does not know yet. */
  readonly unnoticed = new Set<string>();
  readonly #world: NodeWorld;
  #queues = new Map<string, Promise<unknown>>();
  /** How often something was done to each replica since the start. */
  #uses = new Map<string, number>();
  /** Replicas that git stumbled over. */
  #suspects = new Set<string>();

  constructor(process: Process, url: string, world: NodeWorld, identity: string) {
    this.process = process;
    this.url = url;
    this.#world = world;
    this.disk = new NodeDisk(identity);
  }

  start(): void {
    this.#queues = new Map();
    this.#uses = new Map();
    this.#suspects = new Set();
    this.process.start();
  }

  crash(powerLoss: boolean): void {
    if (!this.process.running) return;
    this.process.crash();
    for (const replica of this.disk.replicas.values()) replica.crash(powerLoss, this.#world.random);
  }

  /** The disk is exchanged for an empty one: another node from then on. Only while it is down. */
  loseDisk(identity: string, step: number): void {
    this.lostDisks.push({ disk: this.disk, step });
    this.disk = new NodeDisk(identity);
  }

  /** One copy is gone, and the node keeps its identity. */
  loseCopy(repositoryId: string, step: number): void {
    const disk = new NodeDisk(this.disk.identity);
    const replica = this.disk.replicas.get(repositoryId);
    if (replica === undefined) return;
    disk.replicas.set(repositoryId, replica);
    this.lostDisks.push({ disk, step });
    this.disk.replicas.delete(repositoryId);
    this.unnoticed.add(repositoryId);
  }

  inventory(): CopiesResponse["replicas"] {
    return [...this.disk.replicas].map(([repositoryId, { name, generation }]) => ({ repositoryId, name, generation }));
  }

  listReplicas(): ReplicaList["replicas"] {
    return [...this.disk.replicas].map(([id, { name, defaultBranch }]) => ({ id, name, defaultBranch }));
  }

  copies(): CopiesResponse {
    const { nowMs } = this.process.sim;
    const aside = this.disk.aside.map(({ replica, ...copy }) => ({
      ...copy,
      name: replica.name,
      ageMs: Math.floor(nowMs - copy.movedMs),
      sizeBytes: 0,
    }));
    return { replicas: this.inventory(), aside };
  }

  async purgeCopy(entry: string): Promise<void> {
    await this.#write();
    this.disk.aside = this.disk.aside.filter((copy) => copy.entry !== entry);
  }

  takeSuspects(): string[] {
    const suspects = [...this.#suspects];
    this.#suspects.clear();
    return suspects;
  }

  async createReplica(description: ReplicaDescription, generation = 0): Promise<void> {
    const { id, name, defaultBranch } = description;
    this.#use(id);
    await this.#write();
    if (!this.disk.replicas.has(id)) this.disk.replicas.set(id, new ReplicaDisk(name, defaultBranch, generation));
  }

  updateReplica(description: ReplicaDescription): Promise<void> {
    return this.#exclusive(description.id, async () => {
      const replica = this.#open(description.id);
      await this.#write();
      replica.name = description.name;
      replica.defaultBranch = description.defaultBranch;
    });
  }

  async replicaStatus(id: string): Promise<ReplicaStatus> {
    const uses = this.#usesOf(id);
    return { id, generation: this.#open(id).generation, sizeBytes: 0, uses };
  }

  retireReplica(id: string, { reason, ifUses }: RetireRequest): Promise<void> {
    return this.#exclusive(id, async () => {
      if (ifUses !== undefined && ifUses !== this.#usesOf(id)) {
        throw refusal("replica-in-use", `${id} was worked on meanwhile`);
      }
      await this.#write();
      this.disk.retire(id, reason, Math.floor(this.process.sim.nowMs));
    });
  }

  verify(id: string, request: VerifyRequest): Promise<VerifyResult> {
    const replica = this.#open(id);
    return this.#exclusive(id, async (): Promise<VerifyResult> => {
      await this.#write();
      const { generation } = replica;
      const same = hashOfRefs(replica.refs) === request.refsHash;
      const refs = generation !== request.generation ? "not-compared" : same ? "same" : "differ";
      const problems = request.objects ? this.#fsck(replica) : [];
      return { kind: "verified", generation, refs, problems };
    });
  }

  apply(id: string, request: ApplyRequest): Promise<ApplyAnswer> {
    return this.#exclusive(id, async (): Promise<ApplyAnswer> => {
      const replica = this.#open(id);
      if (replica.generation >= request.generation) return { kind: "applied", generation: replica.generation };
      if (replica.generation < request.base) return { kind: "behind", generation: replica.generation };
      await this.#updateRefs(replica, request.updates);
      await this.#setGeneration(id, replica, request.generation);
      return { kind: "applied", generation: request.generation };
    });
  }

  async stage(id: string, header: StageHeader, bytes: Buffer, signal: AbortSignal): Promise<StageResult> {
    const replica = this.#open(id);
    await this.#write();
    signal.throwIfAborted();
    const pack = bytes.length === 0 ? { objects: [], bases: [] } : parsePack(bytes);
    if (pack === undefined) return { kind: "bad-pack", message: "index-pack abnormal exit" };
    if (pack.bases.some((base) => !replica.objects.has(base))) {
      return { kind: "bad-pack", message: "pack has 1 unresolved delta" };
    }
    if (this.diskFull && pack.objects.length > 0) return { kind: "node-failed", message: "No space left on device" };
    try {
      return await this.#keep(id, replica, header.tips, pack.objects, bytes.length);
    } catch (error) {
      return { kind: "node-failed", message: String(error) };
    }
  }

  async fetchTips(id: string, request: FetchTipsRequest, signal: AbortSignal): Promise<StageResult> {
    const replica = this.#open(id);
    if (replica.generation < 0) return { kind: "node-failed", message: "the replica is still being filled" };
    try {
      const wanted = request.tips.map(({ oid }) => oid);
      const objects = await this.#fetch(id, replica, request.sourceUrl, wanted);
      signal.throwIfAborted();
      return await this.#keep(id, replica, request.tips, objects, 0);
    } catch (error) {
      signal.throwIfAborted();
      return { kind: "node-failed", message: String(error) };
    }
  }

  async catchUp(
    header: CatchUpHeader,
    refs: ReadonlyMap<RefName, ObjectId>,
    signal: AbortSignal,
  ): Promise<CatchUpResult> {
    const { id } = header.replica;
    try {
      await this.createReplica(header.replica, -1);
      const replica = this.#open(id);
      const tips = [...new Set(refs.values())];
      if (header.sourceUrl !== null) await this.#dropRefs(id, replica, () => isSound(replica));
      try {
        await this.#fill(id, replica, header, tips);
      } catch (error) {
        signal.throwIfAborted();
        const isWhole = (): boolean => this.#fsck(replica).length === 0;
        if (header.sourceUrl === null || !(await this.#dropRefs(id, replica, isWhole))) throw error;
        await this.#fill(id, replica, header, tips);
      }
      return await this.#exclusive(id, async () => {
        signal.throwIfAborted();
        this.#stillThere(id, replica);
        replica.name = header.replica.name;
        replica.defaultBranch = header.replica.defaultBranch;
        if (replica.generation > header.generation) return { kind: "caught-up", generation: replica.generation };
        const gone = [...replica.refs.keys()].filter((name) => !refs.has(name));
        await this.#updateRefs(replica, [...gone.map((name): RefUpdate => [name, null]), ...refs]);
        await this.#setGeneration(id, replica, header.generation);
        return { kind: "caught-up", generation: header.generation };
      });
    } catch (error) {
      signal.throwIfAborted();
      const sourceFailed = error instanceof NodeCallError && sourceFailures.has(error.code);
      return { kind: "node-failed", message: String(error), sourceFailed };
    }
  }

  /** What these reach beyond `haves`. Rejects as git does when something is missing. */
  async serve(id: string, wants: readonly ObjectId[], haves: ReadonlySet<ObjectId>): Promise<ObjectId[]> {
    const replica = this.#open(id);
    await this.#write();
    const known = this.#world.objects.reach([...haves].filter((have) => replica.objects.has(have)));
    const sent = [...this.#world.objects.reach(wants, known)];
    const unknown = wants.find((want) => !replica.objects.has(want));
    if (unknown !== undefined) throw refusal("not-our-ref", `upload-pack: not our ref ${unknown}`);
    if (sent.some((object) => !replica.objects.has(object))) {
      this.#suspects.add(id);
      throw refusal("unreadable", "upload-pack: unable to read an object");
    }
    return sent;
  }

  /** Checks the tips as after an index-pack, then makes the objects the replica's, durably. */
  async #keep(
    id: string,
    replica: ReplicaDisk,
    tips: StageHeader["tips"],
    objects: readonly ObjectId[],
    packBytes: number,
  ): Promise<StageResult> {
    const results = this.#checkTips(replica, new Set(objects), tips);
    await this.#write();
    this.#stillThere(id, replica);
    if (objects.length > 0 && results.some(({ type }) => type !== "missing")) {
      this.#use(id);
      replica.add(objects);
    }
    await this.#write();
    this.#stillThere(id, replica);
    replica.sync();
    return { kind: "staged", tips: results, packBytes, generation: replica.generation };
  }

  #checkTips(replica: ReplicaDisk, quarantine: ReadonlySet<ObjectId>, tips: StageHeader["tips"]): TipResult[] {
    const { objects } = this.#world;
    const connected = tips.map(({ oid }) => this.#isConnected(replica, quarantine, [oid], true));
    if (connected.includes(false) && !isSound(replica)) throw refusal("git-failed", "refs of the replica are broken");
    return tips.map(({ oid, ancestor }, index): TipResult => {
      if (connected[index] !== true) return { type: "missing" };
      if (ancestor === undefined) return { type: "commit" };
      return { type: "commit", fastForward: objects.reach([oid]).has(ancestor) };
    });
  }

  /** As `rev-list --objects`, with or without `--not --all`: nothing behind the replica's own refs is looked at. */
  #isConnected(
    replica: ReplicaDisk,
    quarantine: ReadonlySet<ObjectId>,
    tips: readonly ObjectId[],
    trustOwnRefs: boolean,
  ): boolean {
    const { objects } = this.#world;
    if (tips.some((tip) => !replica.objects.has(tip) && !quarantine.has(tip))) return false;
    const trusted = trustOwnRefs
      ? objects.reach([...replica.refs.values()].filter((id) => replica.objects.has(id)))
      : new Set<ObjectId>();
    for (const id of objects.reach(tips, trusted)) if (!replica.objects.has(id) && !quarantine.has(id)) return false;
    return true;
  }

  /** Removes all refs if they are not sound or no recorded generation stands for them. */
  async #dropRefs(id: string, replica: ReplicaDisk, areSound: () => boolean): Promise<boolean> {
    return this.#exclusive(id, async () => {
      const sound = areSound();
      if (sound && (replica.generation >= 0 || replica.refs.size === 0)) return false;
      await this.#write();
      replica.generation = -1;
      replica.refs.clear();
      return true;
    });
  }

  async #fill(
    id: string,
    replica: ReplicaDisk,
    { sourceUrl, damaged }: CatchUpHeader,
    tips: readonly ObjectId[],
  ): Promise<void> {
    const nothing = new Set<ObjectId>();
    if (sourceUrl === null) {
      await this.#write();
      const isWhole = damaged !== true || this.#fsck(replica).length === 0;
      if (isWhole && this.#isConnected(replica, nothing, tips, false)) return this.#syncPacks(id, replica);
      throw refusal("git-failed", "objects are missing, and there is no complete replica to fetch them from");
    }
    const own = new Set(replica.refs.values());
    const wanted = tips.filter((tip) => !own.has(tip));
    if (wanted.length === 0 || this.#isConnected(replica, nothing, wanted, true)) return this.#syncPacks(id, replica);
    const objects = await this.#fetch(id, replica, sourceUrl, wanted);
    if (this.diskFull) throw refusal("git-failed", "No space left on device");
    if (!this.#isConnected(replica, new Set(objects), wanted, true)) {
      throw refusal("git-failed", "objects are missing after the fetch");
    }
    await this.#write();
    this.#stillThere(id, replica);
    replica.add(objects);
    await this.#syncPacks(id, replica);
  }

  /** Whatever is there is durable afterwards. */
  async #syncPacks(id: string, replica: ReplicaDisk): Promise<void> {
    await this.#write();
    this.#stillThere(id, replica);
    replica.sync();
  }

  /** What git fsck finds: objects that the replica's own refs reach and that are not there. */
  #fsck(replica: ReplicaDisk): string[] {
    const missing = [...this.#world.objects.reach(replica.refs.values())].filter((id) => !replica.objects.has(id));
    return missing.slice(0, 1).map((id) => `missing commit ${id}`);
  }

  async #fetch(
    id: string,
    replica: ReplicaDisk,
    sourceUrl: string,
    wanted: readonly ObjectId[],
  ): Promise<readonly ObjectId[]> {
    const source = this.#world.nodeAt(sourceUrl.split("/node/")[0] ?? "");
    if (source === undefined) throw refusal("git-failed", "no such server");
    const haves = new Set([...replica.refs.values()].filter((have) => replica.objects.has(have)));
    const objects = await this.#world.network.call(this.process, source.process, "fetch", { idleMs: peerIdleMs }, () =>
      source.serve(id, wanted, haves),
    );
    await this.#write();
    return objects;
  }

  async #updateRefs(replica: ReplicaDisk, updates: readonly RefUpdate[]): Promise<void> {
    for (const [name, id] of updates) {
      if (id !== null && !replica.objects.has(id))
        throw refusal("git-failed", `update-ref: ${name}: nonexistent object ${id}`);
    }
    replica.writing = updates;
    await this.#write();
    for (const update of updates) replica.setRef(update);
    replica.writing = [];
  }

  async #setGeneration(id: string, replica: ReplicaDisk, generation: number): Promise<void> {
    await this.#write();
    this.#stillThere(id, replica);
    replica.generation = generation;
    this.#use(id);
  }

  /** The replica of this id. Throws "replica-not-found". */
  #open(id: string): ReplicaDisk {
    const replica = this.disk.replicas.get(id);
    if (replica === undefined) throw refusal("replica-not-found", `no replica of ${id} is here`);
    return replica;
  }

  /** Files cannot be written into a directory that was moved aside. */
  #stillThere(id: string, replica: ReplicaDisk): void {
    if (this.disk.replicas.get(id) !== replica)
      throw refusal("replica-not-found", `no replica of ${id} is here any more`);
  }

  async #exclusive<T>(id: string, work: () => Promise<T>): Promise<T> {
    const before = this.#queues.get(id) ?? Promise.resolve();
    const mine = before.then(work);
    this.#queues.set(
      id,
      mine.catch(() => {}),
    );
    return mine;
  }

  #use(id: string): void {
    this.#uses.set(id, (this.#uses.get(id) ?? 0) + 1);
  }

  #usesOf(id: string): string {
    return `${this.process.incarnation} ${this.#uses.get(id) ?? 0}`;
  }

  /** The time of one write. Nothing comes after it when the process crashes. */
  #write(): Promise<void> {
    return this.process.pauseFor(this.#world.random.around(this.diskMs));
  }
}

/** Whether the objects that the refs name are there. */
function isSound(replica: ReplicaDisk): boolean {
  return [...replica.refs.values()].every((id) => replica.objects.has(id));
}

function refusal(code: string, message: string): NodeCallError {
  return new NodeCallError(message, { unreachable: false, code });
}
