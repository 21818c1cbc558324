/**
 * The replicas on this node's disk: bare repositories in directories named by id, so that no name can escape.
 *
 *   DIRECTORY/identity.json            who this node is
 *   DIRECTORY/replicas/XX/ID.git       XX: the last two characters of the id
 *   DIRECTORY/aside/ID.TIME.REASON.git what was deleted or is not needed
 *
 * A replica is what plain git makes of it, with one file more: gitmesh.json, its id, name and generation. A second,
 * gitmesh.damaged, says that it was damaged once.
 */
import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { access, cp, mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import type { Clock } from "../base/clock.ts";
import { crashPoint } from "../base/crash-point.ts";
import { GitmeshError } from "../base/errors.ts";
import {
  repositoryIdSchema,
  type AsideCopy,
  type CopiesResponse,
  type ReplicaDescription,
  type ReplicaList,
  type RetireRequest,
} from "../protocol/node-api.ts";
import { checkRefName } from "../protocol/ref-name.ts";
import { parseRepositoryName } from "../protocol/repository-name.ts";
import { syncDirectory, writeFileDurably } from "./durable-file.ts";
import type { Git } from "./git.ts";
import { removeLeftovers } from "./leftovers.ts";
import { StagedTips } from "./staged-tips.ts";

const recordSchema = z.object({ id: repositoryIdSchema, name: z.string(), generation: z.int().min(-1) });

const damagedFile = "gitmesh.damaged";

/** What gitmesh.json says. */
export interface ReplicaRecord {
  readonly id: string;
  readonly name: string;
  /** The generation of the refs on disk; -1 while the replica is being filled. Never ahead of the refs. */
  readonly generation: number;
}

export interface RepositoriesOptions {
  readonly directory: string;
  readonly git: Git;
  readonly clock: Clock;
}

export class Repositories {
  readonly #directory: string;
  readonly #git: Git;
  readonly #clock: Clock;
  readonly #records = new Map<string, ReplicaRecord>();
  readonly #opening = new Map<string, Promise<string>>();
  readonly #changed = new Set<string>();
  readonly #suspects = new Set<string>();
  /** What was staged lately in the copies that are here. */
  readonly staged = new StagedTips();
  /** Of this process. */
  readonly #start = randomUUID();
  /** How often something was done to each since then. */
  readonly #uses = new Map<string, number>();
  #creations = 0;

  constructor(options: RepositoriesOptions) {
    this.#directory = options.directory;
    this.#git = options.git;
    this.#clock = options.clock;
  }

  /** Makes the directories and empty templates of both object formats; removes half-made replicas of a crash. */
  async prepare(): Promise<void> {
    await mkdir(join(this.#directory, "replicas"), { recursive: true });
    await mkdir(join(this.#directory, "aside"), { recursive: true });
    await rm(this.#building(), { recursive: true, force: true });
    crashPoint("start.building-removed");
    await mkdir(this.#building(), { recursive: true });
    await syncDirectory(this.#directory);
    for (const objectFormat of ["sha1", "sha256"] as const) {
      const template = this.#template(objectFormat);
      const args = ["init", "--quiet", "--bare", "--template=", `--object-format=${objectFormat}`, template];
      await this.#git.capture({ args, directory: this.#building(), outside: true });
      await mkdir(join(template, "info"), { recursive: true });
    }
  }

  directoryOf(id: string): string {
    return join(this.#directory, "replicas", id.slice(-2), `${repositoryIdSchema.parse(id)}.git`);
  }

  /**
   * The directory of a replica, with the leftovers of an earlier process removed when it is opened for the first time.
   * Throws GitmeshError "replica-not-found".
   */
  async open(id: string): Promise<string> {
    const opening = this.#opening.get(id);
    if (opening !== undefined) {
      if (await exists(this.directoryOf(id))) return opening;
      // It was taken away under this process: what is known of it is no longer so.
      this.#forget(id);
      throw notFound(id);
    }
    const opened = this.#open(id);
    this.#opening.set(id, opened);
    opened.catch(() => this.#opening.delete(id));
    return opened;
  }

  /** What is recorded of a replica. Throws GitmeshError "replica-not-found". */
  async record(id: string): Promise<ReplicaRecord> {
    await this.open(id);
    const record = this.#records.get(id);
    if (record === undefined) throw notFound(id);
    return record;
  }

  /** Makes an empty replica, complete at `generation`, or leaves the one that is there. */
  async create(description: ReplicaDescription, generation: number): Promise<void> {
    const directory = this.directoryOf(description.id);
    this.#use(description.id);
    if (!(await exists(directory))) await this.#make(directory, description, generation);
    // Also where it was there already: whoever made it may have been killed before this.
    await syncDirectory(join(directory, ".."));
    await syncDirectory(join(directory, "..", ".."));
    crashPoint("replica.made");
  }

  async #make(directory: string, description: ReplicaDescription, generation: number): Promise<void> {
    this.#creations += 1;
    const building = join(this.#building(), `${description.id}.${this.#creations}`);
    await cp(this.#template(description.objectFormat), building, { recursive: true });
    crashPoint("replica.copied");
    await this.#describe(building, description, generation);
    for (const inside of ["objects/info", "objects/pack", "objects", "refs/heads", "refs/tags", "refs", "."]) {
      await syncDirectory(join(building, inside));
    }
    crashPoint("replica.built");
    await mkdir(join(directory, ".."), { recursive: true });
    try {
      await rename(building, directory);
    } catch (error) {
      // Another creation of the same replica was quicker.
      await rm(building, { recursive: true, force: true });
      if (!(await exists(directory))) throw error;
      return;
    }
    crashPoint("replica.renamed");
    this.#forget(description.id);
    this.touched(description.id);
  }

  /** Sets name, description and HEAD; the generation stays. */
  async update(description: ReplicaDescription): Promise<void> {
    const { generation } = await this.record(description.id);
    await this.#describe(this.directoryOf(description.id), description, generation);
  }

  /** Records that the refs on disk are those of `generation`, durably. */
  async setGeneration(id: string, generation: number): Promise<void> {
    const record = { ...(await this.record(id)), generation };
    await writeFileDurably(join(this.directoryOf(id), "gitmesh.json"), `${JSON.stringify(record)}\n`);
    this.#records.set(id, record);
    this.touched(id);
  }

  /** Records that objects of a replica were lost or rotten: what is left of them may lack what it reaches. Durable. */
  async setDamaged(id: string): Promise<void> {
    await writeFileDurably(join(await this.open(id), damagedFile), "");
  }

  async wasDamaged(id: string): Promise<boolean> {
    return exists(join(await this.open(id), damagedFile));
  }

  /** Reads the recorded generation again, past what this process remembers; -1 when it cannot be read. */
  async generationOnDisk(id: string): Promise<number> {
    return (await readRecord(await this.open(id), id))?.generation ?? -1;
  }

  /**
   * Moves a replica's directory aside. Nothing is deleted. Throws GitmeshError "replica-in-use" when something was done
   * to it since its `uses` were `ifUses`.
   */
  async retire(id: string, { reason, ifUses, nowMs = 0 }: RetireRequest): Promise<void> {
    if (ifUses !== undefined && ifUses !== this.uses(id))
      throw new GitmeshError("replica-in-use", `${id} was worked on meanwhile`);
    const directory = this.directoryOf(id);
    // Nobody opens it any more: what a killed process left in it goes now, and does not come back by a power loss.
    await this.open(id).catch(() => {});
    await syncDirectory(join(directory, "objects")).catch(() => {});
    if (!(await exists(directory))) return this.#forget(id);
    const word = /^[a-z-]{1,32}$/.test(reason) ? reason : "retired";
    const aside = join(this.#directory, "aside");
    const movedMs = Math.max(this.#clock.nowMs(), nowMs);
    await rename(directory, join(aside, `${id}.${movedMs}.${word}.git`));
    // After the rename: whoever opened it until then must find it gone, not remember it.
    this.#forget(id);
    crashPoint("retire.moved");
    await syncDirectory(aside);
    await syncDirectory(join(directory, ".."));
    crashPoint("retire.synced");
  }

  /** What was moved aside. */
  async listAside(): Promise<AsideCopy[]> {
    const aside = join(this.#directory, "aside");
    const nowMs = this.#clock.nowMs();
    const found: AsideCopy[] = [];
    for (const entry of await readdir(aside)) {
      const [, repositoryId, time, reason] = asideName.exec(entry) ?? [];
      if (repositoryId === undefined || time === undefined || reason === undefined) continue;
      const record = await readRecord(join(aside, entry), repositoryId);
      const sizeBytes = await packBytes(join(aside, entry));
      const movedMs = Number(time);
      found.push({ entry, repositoryId, name: record?.name ?? "", reason, movedMs, ageMs: nowMs - movedMs, sizeBytes });
    }
    return found;
  }

  /** Deletes what was moved aside, for good. Throws GitmeshError "bad-request" for what is no such name. */
  async purge(entry: string): Promise<void> {
    if (!asideName.test(entry)) throw new GitmeshError("bad-request", "no copy aside has such a name");
    await rm(join(this.#directory, "aside", entry), { recursive: true, force: true });
    crashPoint("purge.removed");
  }

  /** Every replica on disk with the name and generation that it records; "" and -1 where the record cannot be read. */
  inventory(): Promise<CopiesResponse["replicas"]> {
    return this.#onDisk(async (repositoryId, directory) => {
      const record = await readRecord(directory, repositoryId);
      return { repositoryId, name: record?.name ?? "", generation: record?.generation ?? -1 };
    });
  }

  /** Every replica on disk with the name and the default branch that it has there; "" where they cannot be read. */
  list(): Promise<ReplicaList["replicas"]> {
    return this.#onDisk(async (id, directory) => {
      const record = await readRecord(directory, id);
      const head = await readFile(join(directory, "HEAD"), "latin1").catch(() => "");
      return { id, name: record?.name ?? "", defaultBranch: /^ref: (.+)\n$/.exec(head)?.[1] ?? "" };
    });
  }

  async #onDisk<T>(look: (id: string, directory: string) => Promise<T>): Promise<T[]> {
    const found: T[] = [];
    const replicas = join(this.#directory, "replicas");
    for (const name of await readdir(replicas)) {
      // Whatever else lies there is no replica.
      for (const file of await readdir(join(replicas, name)).catch(() => [])) {
        const id = repositoryIdSchema.safeParse(basename(file, ".git"));
        if (!id.success || this.directoryOf(id.data) !== join(replicas, name, file)) continue;
        found.push(await look(id.data, join(replicas, name, file)));
      }
    }
    return found;
  }

  /** Bytes of a replica's packs. */
  async sizeBytes(id: string): Promise<number> {
    return packBytes(await this.open(id));
  }

  /** Notes that a replica's size is to be reported. */
  touched(id: string): void {
    this.#changed.add(id);
    this.#use(id);
  }

  /** Another with each use of the replica, and with each start of the server. */
  uses(id: string): string {
    return `${this.#start} ${this.#uses.get(id) ?? 0}`;
  }

  /** Notes that git stumbled over a replica: it may be damaged, and a controller is to have it verified. */
  suspect(id: string): void {
    this.#suspects.add(id);
  }

  /** The suspects since the last call. */
  takeSuspects(): string[] {
    const suspects = [...this.#suspects];
    this.#suspects.clear();
    return suspects;
  }

  /** The replicas whose size may have changed since the last call. */
  takeChanged(): string[] {
    const changed = [...this.#changed];
    this.#changed.clear();
    return changed;
  }

  async #open(id: string): Promise<string> {
    const directory = this.directoryOf(id);
    if (!(await exists(directory))) throw notFound(id);
    await removeLeftovers(directory);
    const record = await readRecord(directory, id);
    this.#records.set(id, record ?? { id, name: "", generation: -1 });
    return directory;
  }

  async #describe(directory: string, description: ReplicaDescription, generation: number): Promise<void> {
    const { id, name, defaultBranch } = description;
    if (parseRepositoryName(name) !== name || checkRefName(defaultBranch) !== undefined) {
      throw new GitmeshError("bad-request", "not a branch's full name");
    }
    const config = await readFile(join(directory, "config"), "utf8");
    // For people who look into the directory. Names have no character that means something in a config.
    await writeFileDurably(join(directory, "config"), `${config.split("[gitmesh]")[0]}[gitmesh]\n\tname = ${name}\n`);
    crashPoint("describe.config-written");
    await writeFile(
      join(directory, "description"),
      `${name}${description.description === "" ? "" : `: ${description.description}`}\n`,
    );
    await writeFileDurably(join(directory, "HEAD"), Buffer.from(`ref: ${defaultBranch}\n`, "latin1"));
    crashPoint("describe.head-written");
    const record = { id, name, generation };
    await writeFileDurably(join(directory, "gitmesh.json"), `${JSON.stringify(record)}\n`);
    if (directory === this.directoryOf(id)) this.#records.set(id, record);
  }

  #forget(id: string): void {
    this.#opening.delete(id);
    this.#records.delete(id);
    this.staged.forget(id);
  }

  #use(id: string): void {
    this.#uses.set(id, (this.#uses.get(id) ?? 0) + 1);
  }

  #building(): string {
    return join(this.#directory, "building");
  }

  #template(objectFormat: "sha1" | "sha256"): string {
    return join(this.#building(), `template-${objectFormat}`);
  }
}

/** ID.TIME.REASON.git */
const asideName = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(\d{1,15})\.([a-z-]{1,32})\.git$/;

async function packBytes(directory: string): Promise<number> {
  const packs = join(directory, "objects", "pack");
  let bytes = 0;
  for (const name of await readdir(packs).catch(() => [])) {
    const found = await stat(join(packs, name)).catch(() => undefined);
    bytes += found?.size ?? 0;
  }
  return bytes;
}

async function readRecord(directory: string, id: string): Promise<ReplicaRecord | undefined> {
  try {
    const record = recordSchema.parse(JSON.parse(await readFile(join(directory, "gitmesh.json"), "utf8")));
    return record.id === id ? record : undefined;
  } catch {
    return undefined;
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path, constants.F_OK).then(
    () => true,
    () => false,
  );
}

function notFound(id: string): GitmeshError {
  return new GitmeshError("replica-not-found", `no replica of ${id} is here`);
}
