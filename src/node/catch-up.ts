/**
 * Catch-up: a replica fetches what it lacks from another node and takes over the refs of a generation. What is there
 * already is used, never believed: all that the refs reach is checked before they are set.
 */
import { firstSecret } from "../base/secret.ts";
import { GitmeshError, messageOf } from "../base/errors.ts";
import type { CatchUpHeader, CatchUpResult, FetchTipsRequest, StageResult } from "../protocol/node-api.ts";
import type { ObjectId, RefName } from "../protocol/ref-name.ts";
import type { Applier } from "./apply.ts";
import { checkTips, isConnected } from "./connectivity.ts";
import type { Git } from "./git.ts";
import type { GitLimiter } from "./git-limiter.ts";
import { clearRefs, readRefs, refsAreSound, setRefs } from "./ref-updates.ts";
import type { Repositories } from "./repositories.ts";

export interface CatchUpDependencies {
  readonly repositories: Repositories;
  readonly git: Git;
  readonly limiter: GitLimiter;
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
    const { id } = header.replica;
    try {
      await this.#deps.repositories.create(header.replica, -1);
      const directory = await this.#deps.repositories.open(id);
      await this.#dropBrokenRefs(id, directory);
      await this.#deps.limiter.run(id, signal, () => this.#fetch(directory, header, refs, signal, onProgress));
      return await this.#deps.applier.exclusive(id, async () => {
        const { generation } = await this.#deps.repositories.record(id);
        await this.#deps.repositories.update(header.replica);
        // Pushes went on while this fetched; the refs may be newer already.
        if (generation > header.generation) return { kind: "caught-up", generation };
        await setRefs(this.#deps.git, directory, refs);
        await this.#deps.repositories.setGeneration(id, header.generation);
        return { kind: "caught-up", generation: header.generation };
      });
    } catch (error) {
      signal.throwIfAborted();
      return { kind: "node-failed", message: messageOf(error) };
    }
  }

  /**
   * Brings what the tips of a push reach from a replica that holds it already. Rejects when `signal` aborts; every
   * other failure is a result.
   */
  async fetchTips(id: string, request: FetchTipsRequest, signal: AbortSignal): Promise<StageResult> {
    try {
      const directory = await this.#deps.repositories.open(id);
      const { generation } = await this.#deps.repositories.record(id);
      if (generation < 0) return { kind: "node-failed", message: "the replica is still being filled" };
      const oids = [...new Set(request.tips.map(({ oid }) => oid))];
      return await this.#deps.limiter.run(id, signal, async () => {
        await this.#fetchObjects(directory, request.sourceUrl, oids, signal, () => {});
        this.#deps.repositories.touched(id);
        const tips = await checkTips(this.#deps.git, { directory, signal }, request.tips);
        return { kind: "staged", tips, packBytes: 0 };
      });
    } catch (error) {
      signal.throwIfAborted();
      return { kind: "node-failed", message: messageOf(error) };
    }
  }

  /** git fetches nothing into a repository that it cannot read. */
  async #dropBrokenRefs(id: string, directory: string): Promise<void> {
    if (await refsAreSound(this.#deps.git, directory)) return;
    await this.#deps.applier.exclusive(id, async () => {
      await this.#deps.repositories.setGeneration(id, -1);
      await clearRefs(this.#deps.git, directory);
    });
  }

  async #fetch(
    directory: string,
    header: CatchUpHeader,
    refs: ReadonlyMap<RefName, ObjectId>,
    signal: AbortSignal,
    onProgress: (text: string) => void,
  ): Promise<void> {
    if (header.sourceUrl === null) {
      const everything = [...new Set(refs.values())];
      if (await isConnected(this.#deps.git, { directory, signal }, everything, { trustOwnRefs: false })) return;
      throw new GitmeshError("git-failed", "objects are missing, and there is no complete replica to fetch them from");
    }
    const own = new Set((await readRefs(this.#deps.git, directory)).values());
    const wanted = [...new Set(refs.values())];
    const missing = wanted.filter((oid) => !own.has(oid));
    // A walk over what is there settles most cases without the network.
    if (missing.length > 0 && !(await isConnected(this.#deps.git, { directory, signal }, missing))) {
      await this.#fetchObjects(directory, header.sourceUrl, missing, signal, onProgress);
    }
    if (await isConnected(this.#deps.git, { directory, signal }, missing)) return;
    throw new GitmeshError("git-failed", "objects are missing after the fetch");
  }

  async #fetchObjects(
    directory: string,
    sourceUrl: string,
    oids: readonly ObjectId[],
    signal: AbortSignal,
    onProgress: (text: string) => void,
  ): Promise<void> {
    const args = [
      "fetch",
      "--quiet",
      "--stdin",
      "--no-write-fetch-head",
      "--no-tags",
      "--no-auto-gc",
      "--no-show-forced-updates",
    ];
    const run = await this.#deps.git.attempt(
      {
        args: [...args, sourceUrl],
        directory,
        signal,
        config: {
          // In the environment, not among the arguments, where every process could read it.
          "http.extraHeader": `Authorization: Bearer ${firstSecret(this.#deps.secret)}`,
          "protocol.http.allow": "always",
          "protocol.https.allow": "always",
          "protocol.version": "2",
          "fetch.fsckObjects": "false",
          "http.lowSpeedLimit": "1",
          "http.lowSpeedTime": "60",
        },
        onStderr: onProgress,
      },
      `${oids.join("\n")}\n`,
    );
    if (run.code !== 0) throw new GitmeshError("git-failed", `fetch: ${run.stderr.trim().slice(0, 500)}`);
  }
}
