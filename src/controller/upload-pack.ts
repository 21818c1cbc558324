/**
 * READ: advertise, ls-refs, fetch. Refs are answered here from the ref snapshot; objects come from a READY replica.
 *
 * Objects are found by id, so that it does not matter whether that replica's own refs are as new as the snapshot.
 */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { GitmeshError, messageOf } from "../base/errors.ts";
import type { Clock } from "../base/clock.ts";
import { FairLimiter } from "../base/fair-limiter.ts";
import type { Logger } from "../base/log.ts";
import { turnWaitMs, type ControllerSettings } from "../base/settings.ts";
import { parseGitProtocol, uploadPackAdvertisement, uploadPackAdvertisementV2 } from "../protocol/advertisement.ts";
import { lsRefsResponse, parseV2Request } from "../protocol/ls-refs.ts";
import { flushPkt, pktLine, PktReader } from "../protocol/pkt-line.ts";
import type { Repository, RepositoryWithReplicas, Store } from "../store/store.ts";
import { readBeginning } from "./fetch-beginning.ts";
import type { FetchCache } from "./fetch-cache.ts";
import type { Membership } from "./membership.ts";
import type { Metrics } from "./metrics.ts";
import type { NodeClient } from "./node-client.ts";
import { NodeCallError } from "./node-call-error.ts";
import type { RefSnapshots } from "./ref-snapshot.ts";
import { routeRead, type ReadTarget } from "./router.ts";
import type { BegunAnswer } from "./shared-answer.ts";

/** Arguments of ls-refs whose answer is kept, in characters. */
const sharedArgsMax = 1000;
/** Arguments of a fetch that name refs, which a replica resolves by its own HEAD and refs. */
const refArgs = ["deepen-not ", "sparse:oid="];

export interface UploadPackDependencies {
  readonly store: Store;
  readonly nodeClient: NodeClient;
  readonly membership: Membership;
  readonly snapshots: RefSnapshots;
  readonly metrics: Metrics;
  readonly settings: ControllerSettings;
  readonly clock: Clock;
  readonly log: Logger;
  /** As clients see it, "gitmesh/0.1.0". */
  readonly agent: string;
  /** Undefined: every fetch is answered anew. */
  readonly cache: FetchCache | undefined;
}

export interface UploadPackRequest {
  readonly repository: RepositoryWithReplicas;
  /** The Git-Protocol header. */
  readonly gitProtocol: string | undefined;
  /** Whole and decoded, so that it can be sent again to another node. */
  readonly body: Buffer;
  /** Aborts when the client goes away. */
  readonly signal: AbortSignal;
}

export class UploadPack {
  readonly #deps: UploadPackDependencies;
  readonly #turns: FairLimiter;
  #turn = 0;

  constructor(deps: UploadPackDependencies) {
    this.#deps = deps;
    const { fetchesMax, fetchQueueMax } = deps.settings;
    const limits = { runningMax: fetchesMax, waitingMax: fetchQueueMax, waitMs: turnWaitMs(deps.settings) };
    this.#turns = new FairLimiter({ ...limits, what: "fetch" }, deps.clock);
  }

  /** Throws "busy" when a fetch that came now would be refused. */
  checkRoom(): void {
    this.#turns.check();
  }

  /** The answer to info/refs?service=git-upload-pack. */
  async advertise(repository: Repository, gitProtocol: string | undefined): Promise<Buffer> {
    const { agent, snapshots } = this.#deps;
    const version = parseGitProtocol(gitProtocol);
    if (version === 2) return uploadPackAdvertisementV2(repository.objectFormat, agent);
    const snapshot = await snapshots.get(repository);
    return snapshot.encoded(`upload-pack ${version}`, (set) => uploadPackAdvertisement(version, set, agent));
  }

  /** The answer to a POST of git-upload-pack. What is wrong with the request is said in git's protocol where it can be. */
  async handle(request: UploadPackRequest): Promise<Buffer | Readable> {
    try {
      return await this.#answer(request);
    } catch (error) {
      // As an answer git shows the sentence, unlike that of a status.
      if (error instanceof GitmeshError && error.code === "busy") return errorPkt(error.message);
      throw error;
    }
  }

  async #answer(request: UploadPackRequest): Promise<Buffer | Readable> {
    if (parseGitProtocol(request.gitProtocol) !== 2) return this.#fetch(request);
    const { repository } = request.repository;
    const { command, capabilities, args } = await parseV2Request(new PktReader(Readable.from([request.body])));
    const format =
      capabilities.find((line) => line.startsWith("object-format="))?.slice("object-format=".length) ?? "sha1";
    if (command !== "" && format !== repository.objectFormat) {
      return errorPkt(`this repository's object format is ${repository.objectFormat}, not ${format}`);
    }
    switch (command) {
      case "":
        return Buffer.alloc(0);
      case "ls-refs": {
        const snapshot = await this.#deps.snapshots.get(repository);
        const key = JSON.stringify(args);
        // A long list of prefixes is nobody else's.
        if (key.length > sharedArgsMax) return lsRefsResponse(snapshot, args);
        return snapshot.encoded(`ls-refs ${key}`, (set) => lsRefsResponse(set, args));
      }
      case "fetch":
        return this.#fetch(request);
      default:
        return errorPkt(`unknown command '${command.slice(0, 100)}'`);
    }
  }

  /** When it is its turn, which it holds until the answer ends. From the cache too: a slow client holds memory. */
  async #fetch(request: UploadPackRequest): Promise<Readable> {
    const { cache } = this.#deps;
    const release = await this.#turns.enter(request.repository.repository.id, request.signal);
    const turn = this.#turn++;
    const begin = (signal: AbortSignal): Promise<BegunAnswer> => this.#fetchFromAny({ ...request, signal }, turn);
    try {
      const answer =
        cache === undefined
          ? (await begin(request.signal)).answer
          : await cache.get(questionOf(request, turn), begin, request.signal);
      answer.once("close", release);
      return answer;
    } catch (error) {
      release();
      throw error;
    }
  }

  /** From a replica, and from the next if that one fails before its first byte. Throws "no-ready-replica" or "busy". */
  async #fetchFromAny(request: UploadPackRequest, turn: number): Promise<BegunAnswer> {
    const { membership } = this.#deps;
    const { repository, replicas } = request.repository;
    const route = routeRead(replicas, membership.nodes(), turn);
    let busy = 0;
    let reason = route.reason;
    let refusal: ObjectsRefused | undefined;
    const refusedBy: string[] = [];
    for (const target of route.candidates) {
      try {
        const { answer, generation } = await this.#fetchFrom(target, request);
        await this.#suspect(repository, refusedBy);
        // What a replica adds or leaves out by refs that lag for a moment must not be given for longer.
        const kept = generation >= repository.generation && !refArgs.some((arg) => request.body.includes(arg));
        return { answer, kept };
      } catch (error) {
        if (request.signal.aborted) throw error;
        if (error instanceof ObjectsRefused) {
          refusal = error;
          refusedBy.push(target.nodeId);
          continue;
        }
        if (error instanceof NodeCallError && error.code === "busy") busy += 1;
        reason = messageOf(error);
        await this.#judgeFailure(target, repository, error);
      }
    }
    if (refusal !== undefined) return { answer: Readable.from([refusal.answer]), kept: false };
    if (busy > 0 && busy === route.candidates.length) {
      throw new GitmeshError("busy", "the cluster has as much work as it may take; try again shortly");
    }
    throw new GitmeshError("no-ready-replica", `no replica of ${repository.name} could answer: ${reason}`);
  }

  /** With the generation that the replica's refs had at least. */
  async #fetchFrom(
    target: ReadTarget,
    request: UploadPackRequest,
  ): Promise<{ readonly answer: Readable; readonly generation: number }> {
    const { nodeClient, membership } = this.#deps;
    const { gitProtocol, body, signal } = request;
    const { repository } = request.repository;
    const version = parseGitProtocol(gitProtocol);
    const release = membership.track(target.nodeId);
    try {
      const answer = await nodeClient.uploadPack(target.url, repository.id, {
        gitProtocol: version === 0 ? undefined : `version=${version}`,
        body,
        signal,
      });
      let begun = false;
      answer.body.on("error", (error: Error & { code?: string }) => {
        // A client that left has ended the node's answer: that says nothing about the node.
        if (!begun || signal.aborted || error.code === "UND_ERR_ABORTED") return;
        this.#deps.log.warn(
          { nodeId: target.nodeId, repository: repository.name, error: error.message },
          "a fetch broke off",
        );
        membership.reportFailure(target.nodeId, error);
      });
      answer.body.on("close", release);
      const { bytes, kind } = await readBeginning(answer.body, this.#deps.clock);
      if (kind !== "good") {
        answer.body.destroy();
        throw new ObjectsRefused(bytes);
      }
      begun = true;
      membership.reportSuccess(target.nodeId);
      this.#deps.metrics.served(target.nodeId);
      const { generation } = answer;
      if (answer.body.readableEnded) return { answer: Readable.from([bytes]), generation };
      if (bytes.length > 0) answer.body.unshift(bytes);
      return { answer: answer.body, generation };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Another replica has what these say they have not: they have lost it. */
  async #suspect(repository: Repository, nodeIds: readonly string[]): Promise<void> {
    const { store, log } = this.#deps;
    for (const nodeId of nodeIds) {
      log.error({ nodeId, repository: repository.name }, "a replica lacks objects that another has");
      await store.requestVerification(nodeId, [repository.id], undefined).catch(() => {});
    }
  }

  async #judgeFailure(target: ReadTarget, repository: Repository, error: unknown): Promise<void> {
    const { membership, store, clock, log } = this.#deps;
    log.warn(
      { nodeId: target.nodeId, repository: repository.name, error: messageOf(error) },
      "a replica did not serve a fetch",
    );
    if (!(error instanceof NodeCallError) || error.unreachable) {
      membership.reportFailure(target.nodeId, error);
    } else if (error.code === "replica-not-found") {
      // The node itself says that it has none: it is to be filled again, and not read until then.
      const reason = "the repository server has no such replica";
      try {
        await store.markStale(repository.id, [target.nodeId], reason, clock.nowMs());
      } catch (failure) {
        // Another replica may serve the fetch all the same.
        log.debug({ error: messageOf(failure) }, "cannot mark a replica STALE");
      }
    }
  }
}

/** A replica says that it does not have a wanted object, or cannot read one: it is nobody's fault unless another can. */
class ObjectsRefused extends Error {
  readonly answer: Buffer;

  constructor(answer: Buffer) {
    super("it does not have what is wanted");
    this.answer = answer;
  }
}

/**
 * Has all that can change what is answered. Objects that are there stay, but what a replica may add to them or leave out
 * (tags, common commits) changes with pushes; and what was read from a copy is not given any more once it is known to
 * be damaged. The READY replicas take turns.
 */
function questionOf(
  { repository: { repository, replicas }, gitProtocol, body }: UploadPackRequest,
  turn: number,
): { readonly question: string; readonly turn: number } {
  const ready = replicas.filter(({ state }) => state === "READY");
  const copies = ready.map(({ nodeId, copyNumber, reason }) => [nodeId, copyNumber, reason]);
  const about = [repository.id, repository.generation, copies, parseGitProtocol(gitProtocol)];
  const question = createHash("sha256").update(JSON.stringify(about)).update(body).digest("base64");
  return { question, turn: turn % Math.max(1, ready.length) };
}

/** A fatal error as git clients of protocol v2 show it: "remote error: ...". */
function errorPkt(sentence: string): Buffer {
  return Buffer.concat([pktLine(`ERR ${sentence}\n`), flushPkt]);
}
