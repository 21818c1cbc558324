/** Verification of one replica for the controllers' scrub: its refs against a generation's, and every object (fsck.ts). */
import { messageOf } from "../base/errors.ts";
import type { FairLimiter } from "../base/fair-limiter.ts";
import { hashOfRefs, type VerifyRequest, type VerifyResult } from "../protocol/node-api.ts";
import type { Applier } from "./apply.ts";
import { fsck } from "./fsck.ts";
import type { Git } from "./git.ts";
import { readRefs } from "./ref-updates.ts";
import type { Repositories } from "./repositories.ts";

export interface VerifierDependencies {
  readonly repositories: Repositories;
  readonly git: Git;
  readonly applier: Applier;
  /** Of its own: a verification takes long and must not stand in the way of clients. */
  readonly limiter: FairLimiter;
}

export class Verifier {
  readonly #deps: VerifierDependencies;

  constructor(deps: VerifierDependencies) {
    this.#deps = deps;
  }

  /** Rejects when `signal` aborts or there is no such replica; every other failure is a result. Changes nothing. */
  async verify(id: string, request: VerifyRequest, signal: AbortSignal): Promise<VerifyResult> {
    const { repositories, git, limiter } = this.#deps;
    const directory = await repositories.open(id);
    try {
      return await limiter.run(id, signal, async () => {
        const compared = await this.#compareRefs(id, directory, request);
        const problems = request.objects ? await fsck(git, directory, signal) : [];
        return { kind: "verified", ...compared, problems };
      });
    } catch (error) {
      signal.throwIfAborted();
      return { kind: "node-failed", message: messageOf(error) };
    }
  }

  /** What the disk says, not what this process remembers of it. */
  #compareRefs(
    id: string,
    directory: string,
    request: VerifyRequest,
  ): Promise<{ readonly generation: number; readonly refs: "same" | "differ" | "not-compared" }> {
    const { repositories, applier, git } = this.#deps;
    return applier.exclusive(id, async () => {
      const generation = await repositories.generationOnDisk(id);
      if (generation !== request.generation) return { generation, refs: "not-compared" };
      const refs = await readRefs(git, directory);
      const same = refs !== undefined && hashOfRefs(refs) === request.refsHash;
      return { generation, refs: same ? "same" : "differ" };
    });
  }
}
