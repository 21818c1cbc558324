/**
 * The controller's only HTTP calls to repository servers (protocol/node-api.ts), under the cluster secret.
 *
 * A call that fails throws NodeCallError; `unreachable` tells a node that does not answer (evidence about the node,
 * for membership) from one that answered with a refusal.
 */
import { PassThrough, type Readable } from "node:stream";
import { Agent } from "undici";
import type { Dispatcher } from "undici";
import type { z } from "zod";
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import { firstSecret } from "../base/secret.ts";
import {
  applyResponseSchema,
  catchUpResultSchema,
  commitsResponseSchema,
  nodePaths,
  refsGenerationHeader,
  replicaListSchema,
  replicaInspectionSchema,
  replicaStatusSchema,
  copiesResponseSchema,
  stageResultSchema,
  verifyResultSchema,
  type ApplyRequest,
  type CatchUpHeader,
  type CatchUpResult,
  type CommitSummary,
  type CopiesResponse,
  type FetchTipsRequest,
  type ReplicaDescription,
  type ReplicaList,
  type ReplicaInspection,
  type ReplicaStatus,
  type RetireRequest,
  type StageHeader,
  type StageResult,
  type VerifyRequest,
  type VerifyResult,
} from "../protocol/node-api.ts";
import type { ObjectId, RefName } from "../protocol/ref-name.ts";
import { NodeCallError } from "./node-call-error.ts";
import { readProgressLines } from "./progress-lines.ts";

export type ApplyOutcome = { readonly kind: "applied" | "behind"; readonly generation: number };

/** A pack on its way to one node. */
export interface StageCall {
  /** False when the node's buffer is full: wait for `drained` before the next write. */
  write(chunk: Uint8Array): boolean;
  /** Resolves when there is room again, or the call has ended. */
  drained(): Promise<void>;
  end(): void;
  /** Ends the call with an error; nothing remains on the node. */
  abort(reason: string): void;
  /** Never rejects with anything but NodeCallError. May settle before the upload ends. */
  readonly result: Promise<StageResult>;
}

export interface NodeClientOptions {
  readonly secret: string;
  /** Time to connect, ms. */
  readonly connectMs: number;
  /** Longest time without a byte from a node that is to answer, ms. */
  readonly idleMs: number;
  readonly clock: Clock;
}

/** Bytes that one node may lag behind the client's upload before the upload waits for it. */
const stageBufferBytes = 512 * 1024;
/** A node may have to read a file of each of a hundred thousand replicas. */
const listMs = 120_000;
const problemBytesMax = 64 * 1024;

/** What the controller asks of repository servers. Not the class: in the simulation others stand in for it. */
export interface NodeClient extends Pick<HttpNodeClient, keyof HttpNodeClient> {}

export class HttpNodeClient {
  readonly #agent: Agent;
  readonly #authorization: string;
  readonly #idleMs: number;
  readonly #clock: Clock;

  constructor(options: NodeClientOptions) {
    this.#authorization = `Bearer ${firstSecret(options.secret)}`;
    this.#idleMs = options.idleMs;
    this.#clock = options.clock;
    this.#agent = new Agent({
      connections: 256,
      pipelining: 1,
      connectTimeout: options.connectMs,
      headersTimeout: options.idleMs,
      bodyTimeout: options.idleMs,
      keepAliveTimeout: 30_000,
    });
  }

  close(): Promise<void> {
    return this.#agent.destroy();
  }

  /** Makes the bare repository; an existing one is left as it is. */
  async createReplica(nodeUrl: string, description: ReplicaDescription): Promise<void> {
    await this.#json("POST", nodeUrl, nodePaths.replicas, description);
  }

  /** Sets name, default branch and description of a replica. */
  async updateReplica(nodeUrl: string, description: ReplicaDescription): Promise<void> {
    await this.#json("PATCH", nodeUrl, nodePaths.replica(description.id), description);
  }

  /** Moves a replica's directory aside; none is fine. With `ifUses`, "replica-in-use" refuses it. */
  async retireReplica(nodeUrl: string, repositoryId: string, request: RetireRequest): Promise<void> {
    await this.#json("POST", nodeUrl, nodePaths.retire(repositoryId), { nowMs: this.#clock.nowMs(), ...request });
  }

  /** Verifies a replica: may take as long as reading all of it does. */
  verify(nodeUrl: string, repositoryId: string, request: VerifyRequest, signal: AbortSignal): Promise<VerifyResult> {
    return this.#stream(nodeUrl, nodePaths.verify(repositoryId), request, signal, verifyResultSchema, () => {});
  }

  /** What is on a node's disk. */
  async copies(nodeUrl: string): Promise<CopiesResponse> {
    return parse(copiesResponseSchema, await this.#json("GET", nodeUrl, nodePaths.copies, undefined, listMs));
  }

  /** Deletes a copy that was moved aside, for good; none is fine. */
  async purgeCopy(nodeUrl: string, entry: string): Promise<void> {
    await this.#json("POST", nodeUrl, nodePaths.purge, { entry });
  }

  /** Every replica on the node's disk. */
  async listReplicas(nodeUrl: string): Promise<ReplicaList["replicas"]> {
    return parse(replicaListSchema, await this.#json("GET", nodeUrl, nodePaths.replicas, undefined, listMs)).replicas;
  }

  /** Has a node read a replica and prove whether it is complete. Long for a large one. */
  inspect(nodeUrl: string, repositoryId: string): Promise<ReplicaInspection> {
    const { signal } = new AbortController();
    return this.#stream(nodeUrl, nodePaths.inspect(repositoryId), [], signal, replicaInspectionSchema, () => {});
  }

  async replicaStatus(nodeUrl: string, repositoryId: string, timeoutMs?: number): Promise<ReplicaStatus> {
    const path = nodePaths.replica(repositoryId);
    return parse(replicaStatusSchema, await this.#json("GET", nodeUrl, path, undefined, timeoutMs));
  }

  /** What a replica knows of these commits; those that it does not have are left out. */
  async commits(nodeUrl: string, repositoryId: string, oids: readonly ObjectId[]): Promise<readonly CommitSummary[]> {
    const answer = await this.#json("POST", nodeUrl, nodePaths.commits(repositoryId), { oids });
    return parse(commitsResponseSchema, answer).commits;
  }

  /** "behind" with the replica's generation when it is not yet at `request.base`. `timeoutMs` bounds the whole call. */
  async apply(
    nodeUrl: string,
    repositoryId: string,
    request: ApplyRequest,
    timeoutMs: number = this.#idleMs,
  ): Promise<ApplyOutcome> {
    try {
      const answer = await this.#json("POST", nodeUrl, nodePaths.apply(repositoryId), request, timeoutMs);
      return { kind: "applied", generation: parse(applyResponseSchema, answer).generation };
    } catch (error) {
      if (error instanceof NodeCallError && error.code === "generation-gap" && error.cause !== undefined) {
        const gap = applyResponseSchema.safeParse(error.cause);
        if (gap.success) return { kind: "behind", generation: gap.data.generation };
      }
      throw error;
    }
  }

  /** Begins to stage a push's pack: the caller writes the pack's bytes and awaits the result. */
  stage(nodeUrl: string, repositoryId: string, header: StageHeader, onProgress: (text: string) => void): StageCall {
    const body = new PassThrough({ writableHighWaterMark: stageBufferBytes, readableHighWaterMark: 64 * 1024 });
    const abort = new AbortController();
    // The stream is destroyed by an abort; its error is told through `result` alone.
    body.on("error", () => {});
    body.write(`${JSON.stringify(header)}\n`);
    const result = this.#stream(
      nodeUrl,
      nodePaths.stage(repositoryId),
      body,
      abort.signal,
      stageResultSchema,
      onProgress,
    );
    // Whoever drops a call does not await it.
    result.catch(() => {});
    const settled = result.then(
      () => {},
      () => {},
    );
    void settled.then(() => body.destroy());
    let roomWaiters: (() => void)[] = [];
    const room = (): void => {
      for (const resolve of roomWaiters) resolve();
      roomWaiters = [];
    };
    body.on("drain", room).on("close", room);
    return {
      write: (chunk) => (body.destroyed || body.writableEnded ? true : body.write(chunk)),
      drained: () =>
        body.destroyed || !body.writableNeedDrain
          ? Promise.resolve()
          : new Promise<void>((resolve) => roomWaiters.push(resolve)),
      end: () => {
        if (!body.destroyed) body.end();
      },
      abort: (reason) => abort.abort(new NodeCallError(reason, { unreachable: true })),
      result,
    };
  }

  /** Has a replica fetch what a push's tips reach from one that staged the push. */
  fetchTips(
    nodeUrl: string,
    repositoryId: string,
    request: FetchTipsRequest,
    signal: AbortSignal,
  ): Promise<StageResult> {
    const body = [`${JSON.stringify(request)}\n`];
    return this.#stream(nodeUrl, nodePaths.fetchTips(repositoryId), body, signal, stageResultSchema, () => {});
  }

  /** Makes a replica complete at `header.generation` by fetching from another node. */
  catchUp(
    nodeUrl: string,
    header: CatchUpHeader,
    refs: Iterable<readonly [RefName, ObjectId]>,
    onProgress: (text: string) => void,
    signal: AbortSignal,
  ): Promise<CatchUpResult> {
    function* lines(): Generator<string> {
      yield `${JSON.stringify(header)}\n`;
      let batch = "";
      for (const ref of refs) {
        batch += `${JSON.stringify(ref)}\n`;
        if (batch.length > 65_536) {
          yield batch;
          batch = "";
        }
      }
      if (batch !== "") yield batch;
    }
    const path = nodePaths.catchUp(header.replica.id);
    return this.#stream(nodeUrl, path, lines(), signal, catchUpResultSchema, onProgress);
  }

  /**
   * Runs `git upload-pack` for one stateless request. Resolves when the node has answered with success, so that the
   * caller may try another node on an error; the body then streams, and errors when the node stalls.
   */
  async uploadPack(
    nodeUrl: string,
    repositoryId: string,
    request: { readonly gitProtocol: string | undefined; readonly body: Buffer; readonly signal: AbortSignal },
  ): Promise<{ readonly body: Readable; readonly generation: number }> {
    const answer = await this.#request({
      method: "POST",
      nodeUrl,
      path: `${nodePaths.git(repositoryId)}/git-upload-pack`,
      headers: {
        "content-type": "application/x-git-upload-pack-request",
        ...(request.gitProtocol === undefined ? {} : { "git-protocol": request.gitProtocol }),
      },
      body: request.body,
      signal: request.signal,
      // git counts objects before the first byte of its answer: longer than an idle body may be.
      headersTimeoutMs: Math.max(this.#idleMs, 120_000),
    });
    return { body: answer.body, generation: Number(answer.headers[refsGenerationHeader] ?? -1) };
  }

  async #json(
    method: "GET" | "POST" | "PATCH",
    nodeUrl: string,
    path: string,
    body: unknown,
    timeoutMs: number = this.#idleMs,
  ): Promise<unknown> {
    const abort = new AbortController();
    const cancel = this.#clock.timer(timeoutMs, () => {
      abort.abort(new NodeCallError(`no answer within ${timeoutMs} ms`, { unreachable: true }));
    });
    try {
      const answer = await this.#request({
        method,
        nodeUrl,
        path,
        headers: body === undefined ? {} : { "content-type": "application/json" },
        body: body === undefined ? null : JSON.stringify(body),
        signal: abort.signal,
      });
      const text = await answer.body.text();
      return text === "" ? undefined : (JSON.parse(text) as unknown);
    } catch (error) {
      throw asNodeCallError(error, abort.signal);
    } finally {
      cancel();
    }
  }

  /** A call that is answered by progress lines and one result. */
  async #stream<R>(
    nodeUrl: string,
    path: string,
    body: Readable | Iterable<string> | object,
    signal: AbortSignal,
    schema: z.ZodType<R>,
    onProgress: (text: string) => void,
  ): Promise<R> {
    const isJson = !(Symbol.iterator in body) && !(Symbol.asyncIterator in body);
    try {
      const answer = await this.#request({
        method: "POST",
        nodeUrl,
        path,
        headers: { "content-type": isJson ? "application/json" : "application/octet-stream" },
        body: isJson ? JSON.stringify(body) : (body as Dispatcher.DispatchOptions["body"]),
        signal,
      });
      return parse(schema, await readProgressLines(answer.body, onProgress));
    } catch (error) {
      throw asNodeCallError(error, signal);
    }
  }

  async #request(request: {
    readonly method: "GET" | "POST" | "PATCH";
    readonly nodeUrl: string;
    readonly path: string;
    readonly headers: Record<string, string>;
    readonly body: Dispatcher.DispatchOptions["body"];
    readonly signal: AbortSignal;
    readonly headersTimeoutMs?: number;
  }): Promise<Dispatcher.ResponseData> {
    let answer: Dispatcher.ResponseData;
    try {
      answer = await this.#agent.request({
        origin: request.nodeUrl,
        path: request.path,
        method: request.method,
        headers: { ...request.headers, authorization: this.#authorization },
        body: request.body ?? null,
        signal: request.signal,
        ...(request.headersTimeoutMs === undefined ? {} : { headersTimeout: request.headersTimeoutMs }),
      });
    } catch (error) {
      throw asNodeCallError(error, request.signal);
    }
    if (answer.statusCode >= 200 && answer.statusCode < 300) return answer;
    throw await refusalOf(answer);
  }
}

async function refusalOf(answer: Dispatcher.ResponseData): Promise<NodeCallError> {
  let problem: Record<string, unknown> = {};
  try {
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > problemBytesMax) break;
      chunks.push(chunk);
    }
    problem = JSON.parse(Buffer.concat(chunks).toString("utf8")) as Record<string, unknown>;
  } catch {
    // Not a problem document: the status alone must do.
  }
  const detail = typeof problem["detail"] === "string" ? problem["detail"] : `status ${answer.statusCode}`;
  const code = typeof problem["code"] === "string" ? problem["code"] : "";
  return new NodeCallError(detail, { unreachable: false, code, cause: problem });
}

function asNodeCallError(error: unknown, signal: AbortSignal): NodeCallError {
  if (error instanceof NodeCallError) return error;
  if (signal.aborted && signal.reason instanceof NodeCallError) return signal.reason;
  return new NodeCallError(messageOf(error), { unreachable: true, cause: error });
}

function parse<R>(schema: z.ZodType<R>, value: unknown): R {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new NodeCallError(`an answer that does not fit: ${parsed.error.message}`, { unreachable: false });
}
