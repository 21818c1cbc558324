/** A node's heartbeats (src/node/heartbeat.ts) to the controller that answered last, or the next that answers. */
import type { SimulatedController } from "./controller.ts";
import type { Network } from "./network.ts";
import type { SimulatedNode } from "./node.ts";
import type { Process } from "./process.ts";
import type { Random } from "./random.ts";

export interface HeartbeatOptions {
  readonly node: SimulatedNode;
  readonly bootId: string;
  readonly network: Network;
  readonly random: Random;
  readonly intervalMs: number;
  readonly controllers: readonly { readonly process: Process; controller: SimulatedController | undefined }[];
}

const callMs = 2000;

/** Goes on until the node crashes. */
export async function sendHeartbeats(options: HeartbeatOptions): Promise<void> {
  const { node, bootId, network, random, intervalMs, controllers } = options;
  const { process } = node;
  const disk = { diskUsage: 0.2, diskFreeBytes: 1_000_000 };
  const suspects = new Set<string>();
  let isKnown = false;
  let lastHeartbeatMs: number | undefined;
  let first = random.below(controllers.length);

  async function call<T>(what: string, work: (controller: SimulatedController) => Promise<T>): Promise<T> {
    let failure: unknown;
    for (let attempt = 0; attempt < controllers.length; attempt += 1) {
      const place = controllers[(first + attempt) % controllers.length];
      if (place === undefined) break;
      try {
        const answer = await network.call(
          process,
          place.process,
          what,
          { timeoutMs: callMs, mayRepeat: true },
          async () => {
            if (place.controller === undefined) throw new Error("it does not run");
            return work(place.controller);
          },
        );
        first = (first + attempt) % controllers.length;
        return answer;
      } catch (error) {
        failure = error;
      }
    }
    throw failure as Error;
  }

  async function register(): Promise<void> {
    isKnown = false;
    const inventory = node.inventory();
    const body = { id: node.disk.identity, url: node.url, bootId, version: "0.1.0", ...disk, inventory };
    const answer = await call("register", (controller) => controller.register(body));
    for (const id of answer.deletedRepositoryIds) await node.retireReplica(id, { reason: "deleted" });
    isKnown = true;
  }

  for (;;) {
    try {
      if (!isKnown) await register();
      for (const id of node.takeSuspects()) suspects.add(id);
      const last = lastHeartbeatMs === undefined ? {} : { lastHeartbeatMs };
      const body = { id: node.disk.identity, bootId, ...disk, ...last, sizes: [], suspects: [...suspects] };
      const answer = await call("heartbeat", (controller) => controller.heartbeat(body));
      lastHeartbeatMs = answer.heartbeatMs;
      if (answer.register) await register();
      else suspects.clear();
    } catch {
      // Again at the next beat.
    }
    await process.pauseFor(intervalMs);
  }
}
