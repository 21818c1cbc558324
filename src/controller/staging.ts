/**
 * One push's pack to many replicas at once, with back-pressure and deadlines: the slowest node that still moves sets
 * the pace, and one that stalls or fails drops out of this push while the others go on. Never a whole pack in memory.
 */
import type { Clock } from "../base/clock.ts";
import { crashPoint } from "../base/crash-point.ts";
import { messageOf } from "../base/errors.ts";
import type { StageHeader, StageResult } from "../protocol/node-api.ts";
import type { NodeClient, StageCall } from "./node-client.ts";
import { NodeCallError } from "./node-call-error.ts";

export interface StageTarget {
  readonly nodeId: string;
  readonly url: string;
}

/** What became of the pack on one replica; "unreachable" when its node did not answer to the end. */
export type ReplicaStageResult = StageResult | { readonly kind: "unreachable"; readonly message: string };

export interface StagedPack {
  readonly results: ReadonlyMap<string, ReplicaStageResult>;
  /** Time that each replica took to have it durably, ms by node id; of those that do. */
  readonly stagedMs: Readonly<Record<string, number>>;
  /** Bytes of pack that came from the client. */
  readonly packBytes: number;
  /** The client sent more than allowed: nothing was staged. */
  readonly tooLarge: boolean;
  /** A node had too much to do, and so the others were told to forget it. */
  readonly givenUp: boolean;
}

export interface StagingOptions {
  /** Bytes of pack allowed. */
  readonly packBytesMax: number;
  readonly nodeClient: NodeClient;
  readonly clock: Clock;
  /** Longest time that a node may take no byte, or give no sign of life, while it is to; ms. */
  readonly nodeIdleMs: number;
  /** Whether the push is given up at once since this node is busy. */
  readonly givesUp: (nodeId: string) => boolean;
  /** git's progress of one replica (the first that speaks), for the side band. */
  readonly onProgress: (text: string) => void;
}

/**
 * Streams `pack` to all targets and waits for their results. Rejects only when the client's stream does: then
 * every replica is told to forget what it has.
 */
export async function stagePack(
  targets: readonly StageTarget[],
  repositoryId: string,
  headerFor: (target: StageTarget) => StageHeader,
  pack: AsyncIterable<Uint8Array>,
  options: StagingOptions,
): Promise<StagedPack> {
  let speaker: string | undefined;
  const uploads = targets.map((target) => {
    const onProgress = (text: string): void => {
      speaker ??= target.nodeId;
      if (speaker === target.nodeId) options.onProgress(text);
    };
    return new Upload(
      target,
      options.nodeClient.stage(target.url, repositoryId, headerFor(target), onProgress),
      options,
    );
  });
  let packBytes = 0;
  let busy = false;
  for (const upload of uploads) {
    void upload.whenBusy(() => {
      busy ||= options.givesUp(upload.target.nodeId);
      if (busy) for (const other of uploads) other.call.abort("the push is given up: another server is busy");
    });
  }
  try {
    for await (const chunk of pack) {
      packBytes += chunk.length;
      if (packBytes > options.packBytesMax) {
        for (const upload of uploads) upload.call.abort("the pack is larger than allowed");
        return { results: await resultsOf(uploads), stagedMs: {}, packBytes, tooLarge: true, givenUp: false };
      }
      if (busy) break;
      await Promise.all(uploads.map((upload) => upload.write(chunk)));
    }
  } catch (error) {
    for (const upload of uploads) upload.call.abort("the client went away");
    await resultsOf(uploads);
    throw error;
  }
  for (const upload of uploads) upload.call.end();
  const results = await resultsOf(uploads);
  const staged = uploads.filter(({ target }) => results.get(target.nodeId)?.kind === "staged");
  const stagedMs = Object.fromEntries(staged.map(({ target, tookMs }) => [target.nodeId, Math.round(tookMs)]));
  return { results, stagedMs, packBytes, tooLarge: false, givenUp: busy };
}

async function resultsOf(uploads: readonly Upload[]): Promise<ReadonlyMap<string, ReplicaStageResult>> {
  const results = await Promise.all(
    uploads.map(async (upload) => [upload.target.nodeId, await upload.result()] as const),
  );
  return new Map(results);
}

/** One target's share of a staging. */
class Upload {
  readonly target: StageTarget;
  readonly call: StageCall;
  readonly #options: StagingOptions;
  readonly #startMs: number;
  /** Until its result. */
  tookMs = 0;

  constructor(target: StageTarget, call: StageCall, options: StagingOptions) {
    this.target = target;
    this.call = call;
    this.#options = options;
    this.#startMs = options.clock.monotonicMs();
  }

  /** Resolves when the node can take more, at once for one that dropped out. A node that takes nothing drops out. */
  async write(chunk: Uint8Array): Promise<void> {
    if (this.call.write(chunk)) return;
    const { clock, nodeIdleMs } = this.#options;
    const cancel = clock.timer(nodeIdleMs, () => this.call.abort(`took no data for ${nodeIdleMs} ms`));
    await this.call.drained();
    cancel();
  }

  async whenBusy(then: () => void): Promise<void> {
    const result = await this.call.result.catch(() => undefined);
    if (result?.kind === "busy") then();
  }

  async result(): Promise<ReplicaStageResult> {
    try {
      const result = await this.call.result;
      this.tookMs = this.#options.clock.monotonicMs() - this.#startMs;
      crashPoint("push.node-staged");
      return result;
    } catch (error) {
      if (error instanceof NodeCallError && !error.unreachable) return { kind: "node-failed", message: error.message };
      return { kind: "unreachable", message: messageOf(error) };
    }
  }
}
