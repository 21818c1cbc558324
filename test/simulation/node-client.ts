/** What the controller has for calls to nodes (src/controller/node-client.ts), over the simulated network. */
import { Readable } from "node:stream";
import { NodeCallError } from "../../src/controller/node-call-error.ts";
import type { NodeClient, StageCall } from "../../src/controller/node-client.ts";
import { pktLine } from "../../src/protocol/pkt-line.ts";
import type { CallOptions, Network } from "./network.ts";
import type { SimulatedNode } from "./node.ts";
import type { Process } from "./process.ts";

export interface NodeClientOptions {
  readonly process: Process;
  readonly network: Network;
  readonly idleMs: number;
  readonly nodeAt: (url: string) => SimulatedNode | undefined;
}

export function simulatedNodeClient({ process, network, idleMs, nodeAt }: NodeClientOptions): NodeClient {
  async function call<T>(
    url: string,
    what: string,
    options: CallOptions,
    handler: (node: SimulatedNode, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const node = nodeAt(url);
    if (node === undefined) throw new NodeCallError("no such host", { unreachable: true });
    return network.call(process, node.process, what, { ...options, mayRepeat: true }, async (signal) =>
      handler(node, signal),
    );
  }
  const short = { timeoutMs: idleMs };
  return {
    async close() {},
    createReplica: (url, description) => call(url, "create", short, (node) => node.createReplica(description)),
    updateReplica: (url, description) => call(url, "update", short, (node) => node.updateReplica(description)),
    retireReplica: (url, id, request) =>
      call(url, `retire (${request.reason})`, short, (node) => node.retireReplica(id, request)),
    listReplicas: (url) => call(url, "list", short, async (node) => node.listReplicas()),
    copies: (url) => call(url, "copies", short, async (node) => node.copies()),
    purgeCopy: (url, entry) => call(url, "purge", short, (node) => node.purgeCopy(entry)),
    verify: (url, id, request, signal) =>
      call(url, "verify", { idleMs, signal }, async (node) => node.verify(id, request)),
    commits: async () => Promise.reject(new Error("not simulated")),
    inspect: async () => Promise.reject(new Error("not simulated")),
    replicaStatus: (url, id, timeoutMs) =>
      call(url, "status", { timeoutMs: timeoutMs ?? idleMs }, async (node) => node.replicaStatus(id)),
    apply: (url, id, request, timeoutMs) =>
      call(url, `apply ${request.base} to ${request.generation}`, { timeoutMs: timeoutMs ?? idleMs }, (node) =>
        node.apply(id, request),
      ),
    stage(url, id, header): StageCall {
      const chunks: Uint8Array[] = [];
      const abort = new AbortController();
      const { promise, resolve, reject } = Promise.withResolvers<Awaited<StageCall["result"]>>();
      // Whoever drops a call does not await it.
      promise.catch(() => {});
      abort.signal.addEventListener("abort", () => reject(abort.signal.reason as Error), { once: true });
      return {
        write: (chunk) => chunks.push(chunk) > 0,
        drained: async () => {},
        end() {
          const options = { idleMs, signal: abort.signal };
          call(url, "stage", options, (node, signal) => node.stage(id, header, Buffer.concat(chunks), signal)).then(
            resolve,
            reject,
          );
        },
        abort: (reason) => abort.abort(new NodeCallError(reason, { unreachable: true })),
        result: promise,
      };
    },
    fetchTips: (url, id, request, signal) =>
      call(url, "fetch-tips", { idleMs, signal }, (node, aborted) => node.fetchTips(id, request, aborted)),
    catchUp(url, header, refs, _onProgress, signal) {
      const all = new Map(refs);
      return call(url, `catch-up to ${header.generation}`, { idleMs, signal }, (node, aborted) =>
        node.catchUp(header, all, aborted),
      );
    },
    async uploadPack(url, id, request) {
      const wants = JSON.parse(request.body.toString("latin1").split("\n").at(-1) ?? "[]") as string[];
      const options = { idleMs, signal: request.signal };
      const answer = await call(url, "upload-pack", options, async (node) => {
        try {
          return Buffer.from(JSON.stringify(await node.serve(id, wants, new Set())));
        } catch (error) {
          // That is git's answer, not a failure of the node.
          if (error instanceof NodeCallError && error.code === "not-our-ref") return pktLine(`ERR ${error.message}`);
          throw error;
        }
      });
      return { body: Readable.from([answer]), generation: -1 };
    },
  };
}
