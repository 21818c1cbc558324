/**
 * Catch-up: a replica fetches what it lacks from another node and takes over the refs of a generation. What the
 * fetch brought is checked before any ref is set; a replica without a recorded generation starts from nothing.
 */
import { join } from "node:path";
import { crashPoint } from "../base/crash-point.ts";
import { GitmeshError, messageOf } from "../base/errors.ts";
import type { FairLimiter } from "../base/fair-limiter.ts";
import type { CatchUpHeader, CatchUpResult, FetchTipsRequest, StageResult } from "../protocol/node-api.ts";
import type { ObjectId, RefName } from "../protocol/ref-name.ts";
import type { Applier } from "./apply.ts";
import { checkTips, isConnected } from "./connectivity.ts";
import { syncDirectory } from "./durable-file.ts";
import { fetchObjects, SourceFailure } from "./fetch-objects.ts";
import { fsck } from "./fsck.ts";
import type { Git } from "./git.ts";
import { Quarantine } from "./quarantine.ts";
import { clearRefs } from "./ref-files.ts";
import { readRefs, refsAreSound, setRefs } from "./ref-updates.ts";
import type { Repositories } from "./repositories.ts";

export interface CatchUpDependencies {
  readonly repositories: Repositories;
  readonly git: Git;
  readonly limiter: FairLimiter;
  readonly applier: Applier;
  readonly secret: string;
}

export class CatchUp {
  readonly #deps: CatchUpDependencies;

  constructor(deps: CatchUpDependencies) {
    this.#deps = deps;
  }

  /** Rejects when `signal` aborts; every other failure is a result. */
  async run(
    header: CatchUpHeader,
    refs: ReadonlyMap<RefName, ObjectId>,
    signal: AbortSignal,
    onProgress: (text: string) => void,
  ): Promise<CatchUpResult> {
    const { repositories, limiter, applier, git } = this.#deps;
    const { id } = header.replica;
    try {
      await repositories.create(header.replica, -1);
      crashPoint("catch-up.created");
      const directory = await repositories.open(id);
      await this.#fill(id, directory, signal, header.sourceUrl, () =>
        limiter.run(id, signal, () => this.#fetch(directory, header, refs, signal, onProgress)),
      );
      crashPoint("catch-up.objects-moved");
      return await applier.exclusive(id, async () => {
        signal.throwIfAborted();
        const { generation } = await repositories.record(id);
        await repositories.update(header.replica);
        // Pushes went on while this fetched; the refs may be newer already.
        if (generation > header.generation) return { kind: "caught-up", generation };
        await setRefs(git, directory, refs, () => repositories.setGeneration(id, -1));
        // The copy that was filled may have been moved aside meanwhile, and this be another.
        if (!(await refsAreSound(git, directory)))
          throw new GitmeshError("git-failed", "objects of the refs are not there any more");
        crashPoint("catch-up.refs-set");
        await repositories.setGeneration(id, header.generation);
        crashPoint("catch-up.recorded");
        return { kind: "caught-up", generation: header.generation };
      });
    } catch (error) {
      signal.throwIfAborted();
      return { kind: "node-failed", message: messageOf(error), sourceFailed: error instanceof SourceFailure };
    }
  }

  /**
   * Brings what the tips of a push reach from a replica that holds it already. Rejects when `signal` aborts; every
   * other failure is a result.
   */
  async fetchTips(id: string, request: FetchTipsRequest, signal: AbortSignal): Promise<StageResult> {
    const { repositories, limiter } = this.#deps;
    try {
      const directory = await repositories.open(id);
      const { generation } = await repositories.record(id);
      if (generation < 0) return { kind: "node-failed", message: "the replica is still being filled" };
      return await limiter.run(id, signal, () => this.#fetchTips(id, directory, request, signal));
    } catch (error) {
      signal.throwIfAborted();
      return { kind: "node-failed", message: messageOf(error) };
    }
  }

  async #fetchTips(
    id: string,
    directory: string,
    { tips: wanted, sourceUrl }: FetchTipsRequest,
    signal: AbortSignal,
  ): Promise<StageResult> {
    const { git, repositories, secret } = this.#deps;
    const quarantine = await Quarantine.open(directory);
    try {
      const place = { directory, signal, env: quarantine.env };
      const oids = [...new Set(wanted.map(({ oid }) => oid))];
      await fetchObjects(git, place, { url: sourceUrl, secret }, oids, () => {});
      crashPoint("fetch-tips.fetched");
      const tips = await checkTips(git, place, wanted);
      // What lacks something does not come in: others would stand on it.
      if (tips.every(({ type }) => type !== "missing")) {
        await quarantine.migrate();
        repositories.touched(id);
      }
      return { kind: "staged", tips, packBytes: 0 };
    } finally {
      await quarantine.discard();
    }
  }

  /**
   * Refs vouch for the objects that they reach: git asks for none of those again. So refs that cannot be read, or
   * that no recorded generation stands for, are removed first, and others when the fetch fails and they reach objects
   * that are not there. Other objects may then lack some too: the copy is marked as one that was damaged.
   */
  async #fill(
    id: string,
    directory: string,
    signal: AbortSignal,
    sourceUrl: string | null,
    fetch: () => Promise<void>,
  ): Promise<void> {
    if (sourceUrl === null) return fetch();
    const { git, limiter } = this.#deps;
    await this.#dropRefs(id, directory, () => refsAreSound(git, directory));
    try {
      return await fetch();
    } catch (error) {
      signal.throwIfAborted();
      const isWhole = async (): Promise<boolean> => {
        const refs = await readRefs(git, directory);
        if (refs === undefined) return false;
        const tips = [...new Set(refs.values())];
        return isConnected(git, { directory, signal }, tips, { trustOwnRefs: false });
      };
      if (!(await this.#dropRefs(id, directory, () => limiter.run(id, signal, isWhole)))) throw error;
      return fetch();
    }
  }

  /** Removes all refs if they are not sound or no recorded generation stands for them. True if there were any. */
  async #dropRefs(id: string, directory: string, areSound: () => Promise<boolean>): Promise<boolean> {
    const { repositories, applier, git } = this.#deps;
    return applier.exclusive(id, async () => {
      const { generation } = await repositories.record(id);
      const sound = await areSound();
      if (sound && generation >= 0) return false;
      if (sound && (await readRefs(git, directory))?.size === 0) return false;
      await repositories.setDamaged(id);
      if (generation >= 0) await repositories.setGeneration(id, -1);
      crashPoint("catch-up.unrecorded");
      await clearRefs(directory);
      return true;
    });
  }

  async #fetch(
    directory: string,
    header: CatchUpHeader,
    refs: ReadonlyMap<RefName, ObjectId>,
    signal: AbortSignal,
    onProgress: (text: string) => void,
  ): Promise<void> {
    const { git, repositories, secret } = this.#deps;
    if (header.sourceUrl === null) {
      const everything = [...new Set(refs.values())];
      const isWhole = header.damaged !== true || (await fsck(git, directory, signal)).length === 0;
      if (isWhole && (await isConnected(git, { directory, signal }, everything, { trustOwnRefs: false })))
        return syncPacks(directory);
      throw new GitmeshError("git-failed", "objects are missing, and there is no complete replica to fetch them from");
    }
    const own = new Set((await readRefs(git, directory))?.values());
    const wanted = [...new Set(refs.values())].filter((oid) => !own.has(oid));
    // A walk over what is there settles many cases without the network.
    if (wanted.length === 0 || (await isConnected(git, { directory, signal }, wanted))) return syncPacks(directory);
    const quarantine = await Quarantine.open(directory);
    try {
      const place = { directory, signal, env: quarantine.env };
      await fetchObjects(git, place, { url: header.sourceUrl, secret }, wanted, onProgress);
      crashPoint("catch-up.fetched");
      if (!(await isConnected(git, place, wanted))) {
        throw new GitmeshError("git-failed", "objects are missing after the fetch");
      }
      await quarantine.migrate();
      repositories.touched(header.replica.id);
    } finally {
      await quarantine.discard();
    }
  }
}

/** What is there may have been moved there a moment ago, or by a process that was killed before it was durable. */
function syncPacks(directory: string): Promise<void> {
  return syncDirectory(join(directory, "objects", "pack"));
}
