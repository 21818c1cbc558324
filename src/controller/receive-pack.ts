/**
 * WRITE: `git-receive-pack` over stateless HTTP, from the request's body to the report.
 *
 * Invariant: the client is told "ok" only after the objects are durable on the write quorum of READY replicas and the
 * ref transaction is committed in the store. Everything before the commit leaves nothing but unreferenced objects;
 * everything after it only brings the replicas' own refs up to date.
 */
import { PassThrough, Readable } from "node:stream";
import type { Clock } from "../base/clock.ts";
import { crashPoint } from "../base/crash-point.ts";
import { GitmeshError, messageOf } from "../base/errors.ts";
import { FairLimiter } from "../base/fair-limiter.ts";
import type { Logger } from "../base/log.ts";
import { turnWaitMs, writeQuorumOf, type ControllerSettings } from "../base/settings.ts";
import { PktReader, sideBand } from "../protocol/pkt-line.ts";
import { parseReceivePackRequest, type ReceivePackRequest } from "../protocol/receive-pack-request.ts";
import { reportStatus } from "../protocol/report-status.ts";
import type { CommitOutcome, Repository, RepositoryWithReplicas, Store } from "../store/store.ts";
import { behindSentence } from "./adoption-plan.ts";
import type { ReplicaApplier } from "./apply.ts";
import type { Membership } from "./membership.ts";
import type { Metrics } from "./metrics.ts";
import type { NodeClient } from "./node-client.ts";
import { refuseAll, requestedChanges } from "./push-commands.ts";
import { drain, PushStaging, type PushStagingOutcome, type Report } from "./push-staging.ts";
import { routeWrite, type WriteTarget } from "./router.ts";

/** git's own interval of receive.keepAlive: proxies and clients give up on silent connections. */
const keepAliveMs = 5000;
/** Commands of a push that is refused unseen: without a limit on their number they could fill the memory. */
const refusedCommandsMax = 50;

export interface ReceivePackDependencies {
  readonly store: Store;
  readonly nodeClient: NodeClient;
  readonly membership: Membership;
  readonly applier: ReplicaApplier;
  readonly metrics: Metrics;
  readonly settings: ControllerSettings;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface ReceivePackInput {
  readonly repository: RepositoryWithReplicas;
  /** The request's body, decoded. Its error is the client's going away. */
  readonly body: AsyncIterable<Uint8Array>;
  readonly requestId: string;
  /** Who pushes, for people. */
  readonly actor: string;
  /** Aborts when the client goes away. */
  readonly signal?: AbortSignal | undefined;
}

export class ReceivePack {
  readonly #deps: ReceivePackDependencies;
  readonly #staging: PushStaging;
  readonly #turns: FairLimiter;

  constructor(deps: ReceivePackDependencies) {
    this.#deps = deps;
    this.#staging = new PushStaging(deps);
    const { pushesMax, pushQueueMax } = deps.settings;
    const limits = { runningMax: pushesMax, waitingMax: pushQueueMax, waitMs: turnWaitMs(deps.settings) };
    this.#turns = new FairLimiter({ ...limits, what: "push" }, deps.clock);
  }

  /** Throws "busy" when a push that came now would be refused. */
  checkRoom(): void {
    this.#turns.check();
  }

  /**
   * Resolves when the push is admitted, with the answer's body (application/x-git-receive-pack-result), which ends
   * when the push does. Throws GitmeshError when the request is malformed.
   */
  async handle(input: ReceivePackInput): Promise<{ readonly body: Readable }> {
    let release: () => void;
    try {
      release = await this.#turns.enter(input.repository.repository.id, input.signal);
    } catch (error) {
      if (error instanceof GitmeshError && error.code === "busy") return this.#refuse(input, error);
      throw error;
    }
    try {
      const { answer, push } = await this.#admit(input);
      void push.finally(release);
      return { body: answer };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** In the report git shows the sentence, unlike that of a status. */
  async #refuse(
    { repository: { repository }, body }: ReceivePackInput,
    error: GitmeshError,
  ): Promise<{ body: Readable }> {
    const reader = new PktReader(body);
    const limits = { commandsMax: refusedCommandsMax };
    const request = await parseReceivePackRequest(reader, limits, repository.objectFormat).catch(() => {
      throw error;
    });
    await drain(reader.rest());
    if (request.empty) return { body: Readable.from([]) };
    const answer = new Answer(request, this.#deps.clock);
    answer.report({ unpack: error.message, results: refuseAll(requestedChanges(request), "busy, try again shortly") });
    return { body: answer.stream };
  }

  /** The answer's body, and the push that writes it. */
  async #admit(input: ReceivePackInput): Promise<{ readonly answer: Readable; readonly push: Promise<void> }> {
    const { repository, replicas } = input.repository;
    const { settings, membership } = this.#deps;
    const reader = new PktReader(input.body);
    const request = await parseReceivePackRequest(
      reader,
      { commandsMax: settings.commandsMax },
      repository.objectFormat,
    );
    if (request.empty) {
      // To its end, so that the connection is free for the push that follows.
      await drain(reader.rest());
      return { answer: Readable.from([]), push: Promise.resolve() };
    }
    const writeQuorum = writeQuorumOf(repository.replicasWanted, settings.writeQuorum);
    const route = routeWrite(replicas, membership.nodes(), writeQuorum);
    if (route.kind === "no-quorum") {
      // `info/refs` said so before the upload; this one lost its quorum since. In the report git shows the sentence.
      await drain(reader.rest());
      const answer = new Answer(request, this.#deps.clock);
      answer.report({ unpack: route.sentence, results: refuseAll(requestedChanges(request), route.sentence) });
      return { answer: answer.stream, push: Promise.resolve() };
    }
    const answer = new Answer(request, this.#deps.clock);
    crashPoint("push.admitted");
    const push = this.#push(repository, route.targets, writeQuorum, request, reader, answer, input);
    return { answer: answer.stream, push };
  }

  /** Stage, commit, apply, answer. Never rejects. */
  async #push(
    repository: Repository,
    targets: readonly WriteTarget[],
    writeQuorum: number,
    request: ReceivePackRequest,
    reader: PktReader,
    answer: Answer,
    { requestId, actor }: ReceivePackInput,
  ): Promise<void> {
    const pushId = this.#deps.clock.uuid();
    const startMs = this.#deps.clock.monotonicMs();
    const log = this.#deps.log.child({ requestId, pushId, repository: repository.name });
    let staging: PushStagingOutcome;
    try {
      staging = await this.#staging.stage(
        { repository, targets, writeQuorum, pushId, admitted: requestedChanges(request), pack: () => reader.rest() },
        (text) => answer.progress(text),
        log,
      );
    } catch (error) {
      // Most likely nobody is there to be told. Nothing has changed.
      log.info({ error: messageOf(error) }, "push abandoned");
      answer.report({
        unpack: "the upload broke off",
        results: refuseAll(requestedChanges(request), "unpacker error"),
      });
      return;
    }
    try {
      const report =
        staging.kind === "refused"
          ? staging
          : await this.#commit(repository, writeQuorum, pushId, request, staging, actor, log);
      answer.report(report);
      if (report.results.some(({ refusal }) => refusal === undefined)) {
        const tookMs = this.#deps.clock.monotonicMs() - startMs;
        this.#deps.metrics.pushed(tookMs, staging.kind === "staged" ? staging.stagedMs : {});
      }
    } catch (error) {
      log.error({ err: error }, "a push broke off in the middle");
      answer.destroy();
    }
  }

  async #commit(
    repository: Repository,
    writeQuorum: number,
    pushId: string,
    request: ReceivePackRequest,
    {
      admitted,
      nodeIds: stagedNodeIds,
      stagedMs,
      copies,
      seenGeneration,
    }: Extract<PushStagingOutcome, { readonly kind: "staged" }>,
    actor: string,
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
        copies,
        writeQuorum,
        committedMs: this.#deps.clock.nowMs(),
        actor,
        stagedMs,
        seenGeneration,
      });
    } catch (error) {
      log.error({ err: error }, "commit failed");
      return { unpack: "ok", results: refuseAll(admitted, commitFailure(error)) };
    }
    switch (outcome.kind) {
      case "committed":
        crashPoint("push.committed");
        await this.#apply(repository, outcome, log);
        crashPoint("push.applied");
        return { unpack: "ok", results: outcome.results };
      case "refused":
        return { unpack: "ok", results: outcome.results };
      case "no-quorum": {
        const refusal = `only ${outcome.stagedReady} of the ${outcome.needed} replicas needed hold it; try again`;
        return { unpack: "ok", results: refuseAll(admitted, refusal) };
      }
      case "store-behind":
        log.error({ ...outcome }, "a replica is ahead of the metadata store");
        return { unpack: "ok", results: refuseAll(admitted, behindSentence(repository)) };
      case "repository-gone":
        return { unpack: "ok", results: refuseAll(admitted, "the repository was deleted") };
    }
  }

  /**
   * Brings the staged replicas' own refs to the new generation. One that does not confirm in time stays READY, since it
   * has every object and reads take their refs from the store; the repair goes on with it.
   */
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
    } catch (error) {
      // Committed is committed: the repair brings the replicas' refs up to date from the ref log.
      log.error({ error: messageOf(error) }, "applying a push failed");
    }
  }
}

/** What is told of a commit that threw. The store knows whether its outcome is known (store/sql/database.ts). */
function commitFailure(error: unknown): string {
  if (!(error instanceof GitmeshError) || error.code !== "store-unavailable")
    return "an error of the server; try again";
  return error.fields["outcome"] === "unknown"
    ? "the metadata store stopped answering in the middle; fetch to see whether the push took effect"
    : `nothing has changed: ${error.message}`;
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
    if (request.sideBand) this.#keepAlive();
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
