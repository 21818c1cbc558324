/**
 * The second step of a push: its objects become durable on the replicas, or the push is refused.
 *
 * A replica that could not use the pack, since it lacks what the pack rests on, fetches the objects from one that could.
 * So one that is being filled takes part in the pushes of a busy branch, and is not behind for ever.
 */
import type { Clock } from "../base/clock.ts";
import { crashPoint } from "../base/crash-point.ts";
import type { Logger } from "../base/log.ts";
import type { ControllerSettings } from "../base/settings.ts";
import { nodePaths, type StageHeader } from "../protocol/node-api.ts";
import type { RefResult, Repository, Store } from "../store/store.ts";
import { suspectAgainMs } from "../store/verification.ts";
import type { Membership } from "./membership.ts";
import type { NodeClient } from "./node-client.ts";
import { NodeCallError } from "./node-call-error.ts";
import { refuseAll, tipsToStage, withStagedTips, type Admitted } from "./push-commands.ts";
import type { WriteTarget } from "./router.ts";
import { stagePack, type ReplicaStageResult, type StagedPack } from "./staging.ts";
import { agrees, judgeStaging, lackingReplicas, type StagingVerdict } from "./staging-outcome.ts";

/** A refused upload is read on this far, so that the client reads the report rather than a broken connection. */
const drainBytesMax = 64 * 1024 * 1024;

/** In place of suspectAgainMs where a push is refused: nobody can work until it is found out which replica is right. */
const refusedAgainMs = 10_000;

export interface PushStagingDependencies {
  readonly store: Store;
  readonly nodeClient: NodeClient;
  readonly membership: Membership;
  readonly settings: ControllerSettings;
  readonly clock: Clock;
}

export interface PushToStage {
  readonly repository: Repository;
  readonly targets: readonly WriteTarget[];
  readonly writeQuorum: number;
  readonly pushId: string;
  readonly admitted: Admitted;
  /** What is still to be read of the pack; once more after a part of it was. */
  readonly pack: () => AsyncIterable<Uint8Array>;
}

/** What report-status says. */
export interface Report {
  readonly unpack: string;
  readonly results: readonly RefResult[];
}

export type PushStagingOutcome =
  | {
      readonly kind: "staged";
      readonly admitted: Admitted;
      readonly nodeIds: readonly string[];
      /** Time that each replica took, ms by node id; for people. */
      readonly stagedMs: Readonly<Record<string, number>>;
      /** By node, the `copyNumber` of the replica. */
      readonly copies: ReadonlyMap<string, number>;
      /** The latest generation that a replica said it is at; -1 when none did. */
      readonly seenGeneration: number;
    }
  | ({ readonly kind: "refused" } & Report);

export class PushStaging {
  readonly #deps: PushStagingDependencies;
  /** Nodes that have refused every push as busy since then. */
  readonly #busySinceMs = new Map<string, number>();

  constructor(deps: PushStagingDependencies) {
    this.#deps = deps;
  }

  /** Rejects only when the client's stream breaks. */
  async stage(push: PushToStage, onProgress: (text: string) => void, log: Logger): Promise<PushStagingOutcome> {
    const { admitted, repository, targets } = push;
    const tips = tipsToStage(admitted, repository);
    const copies = new Map(targets.map(({ nodeId, copyNumber }) => [nodeId, copyNumber]));
    // Deletes bring no objects: there is nothing to stage, and every replica that can be reached has them all.
    if (tips.length === 0) {
      await drain(push.pack());
      const seenGeneration = await this.#generationOf(repository.id, targets);
      const nodeIds = targets.map((target) => target.nodeId);
      return { kind: "staged", admitted, nodeIds, stagedMs: {}, copies, seenGeneration };
    }
    const staged = await this.#stream(push, tips, onProgress);
    this.#report(staged, log);
    if (staged.tooLarge || staged.givenUp) await drain(push.pack());
    const verdict = judgeStaging(targets, { ...staged, results: this.#judgeBusy(staged.results) }, push.writeQuorum);
    this.#suspectLacking(push, staged, verdict, log);
    if (verdict.kind === "refused") {
      // The parents that a shallow clone does not have are the usual reason, and the one that a person can act on.
      if (admitted.fromShallow && verdict.unpack.startsWith("did not receive expected object")) {
        return { kind: "refused", unpack: "ok", results: refuseAll(admitted, "shallow update not allowed") };
      }
      return { kind: "refused", unpack: verdict.unpack, results: refuseAll(admitted, verdict.refusal) };
    }
    const helped = await this.#helpOthers(push, tips, staged.results, verdict, log);
    const nodeIds = [...verdict.nodeIds, ...helped];
    crashPoint("push.staged");
    const seenGeneration = Math.max(
      -1,
      ...[...staged.results.values()].map((result) => (result.kind === "staged" ? (result.generation ?? -1) : -1)),
    );
    return {
      kind: "staged",
      admitted: withStagedTips(admitted, repository, verdict.tips),
      nodeIds,
      stagedMs: staged.stagedMs,
      copies,
      seenGeneration,
    };
  }

  /** Where the replicas are, of those that say so in time: a push without a pack does not ask them otherwise. */
  async #generationOf(repositoryId: string, targets: readonly WriteTarget[]): Promise<number> {
    const { nodeClient, settings } = this.#deps;
    const generations = await Promise.all(
      targets.map(async ({ url }) => {
        try {
          return (await nodeClient.replicaStatus(url, repositoryId, settings.nodeConnectMs)).generation;
        } catch {
          return -1;
        }
      }),
    );
    return Math.max(-1, ...generations);
  }

  async #stream(push: PushToStage, tips: StageHeader["tips"], onProgress: (text: string) => void): Promise<StagedPack> {
    const { membership, nodeClient, clock, settings } = this.#deps;
    const header = { pushId: push.pushId, tips, packBytesMax: settings.packBytesMax };
    const lead = push.repository.generation === 0 ? push.targets.find(({ ready }) => ready) : undefined;
    const headerFor = ({ nodeId }: { readonly nodeId: string }): StageHeader => {
      if (lead === undefined) return header;
      return { ...header, ...(nodeId === lead.nodeId ? { leads: true } : { leadUrl: lead.url }) };
    };
    const releases = push.targets.map((target) => membership.track(target.nodeId));
    try {
      return await stagePack(push.targets, push.repository.id, headerFor, push.pack(), {
        packBytesMax: settings.packBytesMax,
        nodeClient,
        clock,
        nodeIdleMs: settings.nodeIdleMs,
        onProgress,
        givesUp: (nodeId) =>
          push.targets.some((target) => target.nodeId === nodeId && target.ready) && !this.#isHopeless(nodeId),
      });
    } finally {
      for (const release of releases) release();
    }
  }

  #report(staged: StagedPack, log: Logger): void {
    for (const [nodeId, result] of staged.results) {
      // Those that were told to forget it are not to blame.
      if (result.kind === "unreachable" && !staged.tooLarge && !staged.givenUp) {
        this.#deps.membership.reportFailure(nodeId, new NodeCallError(result.message, { unreachable: true }));
      }
      if (result.kind !== "staged") log.warn({ nodeId, ...result }, "replica dropped out of a push");
    }
  }

  /** A node that has been busy for so long that pushes no longer wait for it has failed. */
  #judgeBusy(results: ReadonlyMap<string, ReplicaStageResult>): ReadonlyMap<string, ReplicaStageResult> {
    const judged = new Map<string, ReplicaStageResult>();
    for (const [nodeId, result] of results) {
      if (result.kind === "staged" || result.kind === "bad-pack") this.#busySinceMs.delete(nodeId);
      if (result.kind !== "busy") {
        judged.set(nodeId, result);
        continue;
      }
      const hopeless = this.#isHopeless(nodeId);
      judged.set(nodeId, hopeless ? { kind: "node-failed", message: result.message } : result);
      if (!this.#busySinceMs.has(nodeId)) this.#busySinceMs.set(nodeId, this.#deps.clock.monotonicMs());
    }
    return judged;
  }

  #isHopeless(nodeId: string): boolean {
    const { clock, settings } = this.#deps;
    const sinceMs = this.#busySinceMs.get(nodeId);
    return sinceMs !== undefined && clock.monotonicMs() - sinceMs > settings.nodeIdleMs;
  }

  /** The nodes that hold the push now, having fetched it from one that staged it. Bounded in time; never rejects. */
  async #helpOthers(
    push: PushToStage,
    tips: StageHeader["tips"],
    results: ReadonlyMap<string, ReplicaStageResult>,
    verdict: StagingVerdict & { readonly kind: "staged" },
    log: Logger,
  ): Promise<string[]> {
    const source = push.targets.find(({ nodeId, ready }) => ready && verdict.nodeIds.includes(nodeId));
    const others = push.targets.filter(({ nodeId }) => {
      const kind = results.get(nodeId)?.kind;
      return !verdict.nodeIds.includes(nodeId) && (kind === "staged" || kind === "bad-pack");
    });
    // What is missing everywhere is not fetched.
    const wanted = tips.filter((_tip, index) => verdict.tips[index]?.type !== "missing");
    if (source === undefined || others.length === 0 || wanted.length === 0) return [];
    const { nodeClient, settings, clock } = this.#deps;
    const request = { tips: wanted, sourceUrl: source.url + nodePaths.git(push.repository.id) };
    const abort = new AbortController();
    const cancel = clock.timer(settings.applyMs, () => {
      abort.abort(new NodeCallError(`did not fetch within ${settings.applyMs} ms`, { unreachable: false }));
    });
    const helped = await Promise.all(
      others.map(async ({ nodeId, url }) => {
        try {
          const result = await nodeClient.fetchTips(url, push.repository.id, request, abort.signal);
          if (result.kind === "staged" && agrees(result.tips)) return [nodeId];
          log.info({ nodeId, ...result }, "replica could not fetch a push either");
        } catch (error) {
          log.info({ nodeId, err: error }, "replica could not fetch a push either");
        }
        return [];
      }),
    );
    crashPoint("push.others-fetched");
    cancel();
    return helped.flat();
  }

  /** A complete replica can do with a pack what another one can: it may have lost something, also where most have. */
  #suspectLacking(
    { repository, targets }: PushToStage,
    staged: StagedPack,
    verdict: StagingVerdict,
    log: Logger,
  ): void {
    const isRefused = verdict.kind === "refused" || !agrees(verdict.tips);
    const suspected = lackingReplicas(targets, staged);
    for (const nodeId of suspected) {
      this.#suspect(repository.id, nodeId, isRefused ? refusedAgainMs : suspectAgainMs, log);
    }
  }

  #suspect(repositoryId: string, nodeId: string, againMs: number, log: Logger): void {
    const { store, clock } = this.#deps;
    const nowMs = clock.nowMs();
    store
      .requestVerification(nodeId, [repositoryId], { sinceMs: nowMs - againMs, nowMs })
      .catch((error: unknown) => log.warn({ nodeId, err: error }, "could not ask for a verification"));
  }
}

/** Reads on, up to a limit. */
export async function drain(rest: AsyncIterable<Uint8Array>): Promise<void> {
  let bytes = 0;
  for await (const chunk of rest) {
    bytes += chunk.length;
    if (bytes > drainBytesMax) return;
  }
}
