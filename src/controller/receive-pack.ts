/**
 * WRITE: `git-receive-pack` over stateless HTTP, from the request's body to the report.
 *
 * Invariant: the client is told "ok" only after the objects are durable on the write quorum of READY replicas and the
 * ref transaction is committed in the store. Everything before the commit leaves nothing but unreferenced objects;
 * everything after it only brings the replicas' own refs up to date.
 */
import { PassThrough, type Readable } from "node:stream";
import { v7 as uuid } from "uuid";
import type { Clock } from "../base/clock.ts";
import { GitmeshError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { writeQuorumOf, type ControllerSettings } from "../base/settings.ts";
import { PktReader, sideBand } from "../protocol/pkt-line.ts";
import { parseReceivePackRequest, type ReceivePackRequest } from "../protocol/receive-pack-request.ts";
import { reportStatus } from "../protocol/report-status.ts";
import type { CommitOutcome, RefResult, Repository, RepositoryWithReplicas, Store } from "../store/store.ts";
import type { ReplicaApplier } from "./apply.ts";
import type { Membership } from "./membership.ts";
import type { NodeClient } from "./node-client.ts";
import { refuseAll, requestedChanges, tipsToStage, withStagedTips, type Admitted } from "./push-commands.ts";
import { routeWrite, type WriteTarget } from "./router.ts";
import { stagePack, type StagedPack } from "./staging.ts";
import { judgeStaging } from "./staging-outcome.ts";

/** git's own interval of receive.keepAlive: proxies and clients give up on silent connections. */
const keepAliveMs = 5000;
/** A refused upload is read on this far, so that the client reads the report rather than a broken connection. */
const drainBytesMax = 64 * 1024 * 1024;

export interface ReceivePackDependencies {
  readonly store: Store;
  readonly nodeClient: NodeClient;
  readonly membership: Membership;
  readonly applier: ReplicaApplier;
  readonly settings: ControllerSettings;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface ReceivePackInput {
  readonly repository: RepositoryWithReplicas;
  /** The request's body, decoded. Its error is the client's going away. */
  readonly body: AsyncIterable<Uint8Array>;
  readonly requestId: string;
}

interface Report {
  readonly unpack: string;
  readonly results: readonly RefResult[];
}

export class ReceivePack {
  readonly #deps: ReceivePackDependencies;

  constructor(deps: ReceivePackDependencies) {
    this.#deps = deps;
  }

  /**
   * Resolves when the push is admitted, with the answer's body (application/x-git-receive-pack-result), which ends
   * when the push does. Throws GitmeshError when it is not admitted: malformed, or too few replicas for a write.
   */
  async handle(input: ReceivePackInput): Promise<{ readonly body: Readable }> {
    const { repository, replicas } = input.repository;
    const { settings, membership } = this.#deps;
    const reader = new PktReader(input.body);
    const request = await parseReceivePackRequest(
      reader,
      { commandsMax: settings.commandsMax },
      repository.objectFormat,
    );
    const answer = new Answer(request, this.#deps.clock);
    if (request.empty) {
      answer.end();
      return { body: answer.stream };
    }
    const writeQuorum = writeQuorumOf(repository.replicasWanted, settings.writeQuorum);
    const route = routeWrite(replicas, membership.nodes(), writeQuorum);
    if (route.kind === "no-quorum") {
      await drain(reader.rest());
      throw new GitmeshError("no-write-quorum", route.sentence);
    }
    void this.#push(repository, route.targets, writeQuorum, request, reader, answer, input.requestId);
    return { body: answer.stream };
  }

  /** Stage, commit, apply, answer. Never rejects. */
  async #push(
    repository: Repository,
    targets: readonly WriteTarget[],
    writeQuorum: number,
    request: ReceivePackRequest,
    reader: PktReader,
    answer: Answer,
    requestId: string,
  ): Promise<void> {
    const pushId = uuid();
    const log = this.#deps.log.child({ requestId, pushId, repository: repository.name });
    try {
      const admitted = requestedChanges(request);
      const staging = await this.#stage(repository, targets, writeQuorum, pushId, admitted, reader, answer, log);
      const report =
        staging.kind === "refused"
          ? staging.report
          : await this.#commit(repository, writeQuorum, pushId, request, staging.admitted, staging.nodeIds, log);
      answer.report(report);
    } catch (error) {
      // The client's stream broke before the commit: nobody is there to be told, and nothing has changed.
      log.info({ error: messageOf(error) }, "push abandoned");
      answer.destroy();
    }
  }

  async #stage(
    repository: Repository,
    targets: readonly WriteTarget[],
    writeQuorum: number,
    pushId: string,
    admitted: Admitted,
    reader: PktReader,
    answer: Answer,
    log: Logger,
  ): Promise<
    | { readonly kind: "staged"; readonly admitted: Admitted; readonly nodeIds: readonly string[] }
    | { readonly kind: "refused"; readonly report: Report }
  > {
    // Deletes bring no objects: there is nothing to stage, and every replica that can be reached has them all.
    if (!admitted.bringsPack) return { kind: "staged", admitted, nodeIds: targets.map((target) => target.nodeId) };
    const tips = tipsToStage(admitted, repository);
    if (tips.length === 0) {
      await drain(reader.rest());
      return { kind: "staged", admitted, nodeIds: [] };
    }
    const { membership, nodeClient, clock, settings } = this.#deps;
    const header = { pushId, tips, packBytesMax: settings.packBytesMax };
    const releases = targets.map((target) => membership.track(target.nodeId));
    let staged: StagedPack;
    try {
      staged = await stagePack(targets, repository.id, header, reader.rest(), {
        nodeClient,
        clock,
        nodeIdleMs: settings.nodeIdleMs,
        onProgress: (text) => answer.progress(text),
      });
    } finally {
      for (const release of releases) release();
    }
    for (const [nodeId, result] of staged.results) {
      if (result.kind === "unreachable" && !staged.tooLarge)
        membership.reportFailure(nodeId, new Error(result.message));
      if (result.kind !== "staged") log.warn({ nodeId, ...result }, "replica dropped out of a push");
    }
    if (staged.tooLarge) await drain(reader.rest());
    const verdict = judgeStaging(targets, staged, writeQuorum);
    if (verdict.kind === "refused") {
      return { kind: "refused", report: { unpack: verdict.unpack, results: refuseAll(admitted, verdict.refusal) } };
    }
    return { kind: "staged", admitted: withStagedTips(admitted, repository, verdict.tips), nodeIds: verdict.nodeIds };
  }

  async #commit(
    repository: Repository,
    writeQuorum: number,
    pushId: string,
    request: ReceivePackRequest,
    admitted: Admitted,
    stagedNodeIds: readonly string[],
    log: Logger,
  ): Promise<Report> {
    let outcome: CommitOutcome;
    try {
      outcome = await this.#deps.store.commitRefs({
        repositoryId: repository.id,
        pushId,
        atomic: request.atomic,
        changes: admitted.changes,
        stagedNodeIds,
        writeQuorum,
        committedMs: this.#deps.clock.nowMs(),
      });
    } catch (error) {
      log.error({ error: messageOf(error) }, "commit failed");
      const refusal = "the metadata store does not answer; fetch to see whether the push took effect";
      return { unpack: "ok", results: refuseAll(admitted, refusal) };
    }
    switch (outcome.kind) {
      case "committed":
        await this.#apply(repository, outcome, log);
        return { unpack: "ok", results: outcome.results };
      case "refused":
        return { unpack: "ok", results: outcome.results };
      case "no-quorum": {
        const refusal = `only ${outcome.stagedReady} of the ${outcome.needed} replicas needed hold it; try again`;
        return { unpack: "ok", results: refuseAll(admitted, refusal) };
      }
      case "repository-gone":
        return { unpack: "ok", results: refuseAll(admitted, "the repository was deleted") };
    }
  }

  /** Brings the staged replicas' own refs to the new generation; one that does not confirm becomes STALE. */
  async #apply(
    repository: Repository,
    outcome: Extract<CommitOutcome, { readonly kind: "committed" }>,
    log: Logger,
  ): Promise<void> {
    if (outcome.staleNodeIds.length > 0) log.warn({ nodeIds: outcome.staleNodeIds }, "replicas missed a push");
    if (outcome.changes.length === 0) return;
    try {
      const unconfirmed = await this.#deps.applier.applyCommit(repository.id, outcome);
      if (unconfirmed.length === 0) return;
      log.warn({ nodeIds: unconfirmed, generation: outcome.generation }, "replicas did not confirm a push");
      const reason = `did not confirm generation ${outcome.generation}`;
      await this.#deps.store.markStale(repository.id, unconfirmed, reason, this.#deps.clock.nowMs());
    } catch (error) {
      // Committed is committed: the repair brings the replicas' refs up to date from the ref log.
      log.error({ error: messageOf(error) }, "applying a push failed");
    }
  }
}

/** The answer's body: side band with progress and keep-alives, or the plain report. */
class Answer {
  readonly stream = new PassThrough();
  readonly #request: ReceivePackRequest;
  readonly #clock: Clock;
  #cancelKeepAlive: () => void = () => {};

  constructor(request: ReceivePackRequest, clock: Clock) {
    this.#request = request;
    this.#clock = clock;
    // A client that leaves while it is answered changes nothing about the push.
    this.stream.on("error", () => {});
    if (request.sideBand && !request.empty) this.#keepAlive();
  }

  /** Text for the person at the other end; dropped when they want none. */
  progress(text: string): void {
    if (!this.#request.sideBand || this.#request.quiet || this.stream.destroyed) return;
    this.stream.write(sideBand(2, text));
  }

  report(report: Report): void {
    const version = this.#request.reportStatus;
    if (version !== undefined) {
      const status = reportStatus({ version, unpack: report.unpack, results: report.results });
      this.stream.write(this.#request.sideBand ? sideBand(1, status) : status);
    }
    if (this.#request.sideBand) this.stream.write("0000");
    this.end();
  }

  end(): void {
    this.#cancelKeepAlive();
    this.stream.end();
  }

  destroy(): void {
    this.#cancelKeepAlive();
    this.stream.destroy();
  }

  #keepAlive(): void {
    this.#cancelKeepAlive = this.#clock.timer(keepAliveMs, () => {
      if (this.stream.destroyed || this.stream.writableEnded) return;
      // An empty packet of band 1, as git's receive-pack sends.
      this.stream.write("0005\u0001");
      this.#keepAlive();
    });
  }
}

async function drain(rest: AsyncIterable<Uint8Array>): Promise<void> {
  let bytes = 0;
  for await (const chunk of rest) {
    bytes += chunk.length;
    if (bytes > drainBytesMax) return;
  }
}
