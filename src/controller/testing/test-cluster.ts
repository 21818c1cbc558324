/** A controller on a store of its own with fake nodes that send heartbeats, for tests of the whole controller. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { systemClock } from "../../base/clock.ts";
import { createLogger } from "../../base/log.ts";
import { controllerSettingsSchema } from "../../base/settings.ts";
import { openStore } from "../../store/open-store.ts";
import type { Store } from "../../store/store.ts";
import { startController } from "../server.ts";
import { FakeNode } from "./fake-node.ts";

export const secret = "the secret of the tests";

export class TestCluster {
  readonly url: string;
  readonly nodes: readonly FakeNode[];
  /** Another connection to the controller's store, to arrange and to look. */
  readonly store: Store;
  readonly #silent = new Set<FakeNode>();

  constructor(url: string, nodes: readonly FakeNode[], store: Store) {
    this.url = url;
    this.nodes = nodes;
    this.store = store;
  }

  /** Stops itself after the test. */
  static async start(
    t: TestContext,
    options: { nodes: number; settings?: Record<string, unknown> },
  ): Promise<TestCluster> {
    const directory = await mkdtemp(join(tmpdir(), "gitmesh-controller-"));
    const database = `sqlite:${join(directory, "store.sqlite")}`;
    const settings = controllerSettingsSchema.parse({
      secret,
      database,
      listen: "127.0.0.1:0",
      heartbeatIntervalMs: 50,
      nodeTimeoutMs: 400,
      repairIntervalMs: 50,
      repairGraceMs: 600_000,
      nodeIdleMs: 1000,
      ...options.settings,
    });
    const controller = await startController(settings, {
      log: createLogger("controller", "silent"),
      clock: systemClock,
    });
    const store = await openStore(database);
    const nodes = await Promise.all(Array.from({ length: options.nodes }, () => FakeNode.start()));
    const cluster = new TestCluster(controller.url, nodes, store);
    for (const node of nodes) await node.register(controller.url, secret);
    const beats = setInterval(() => {
      for (const node of nodes) {
        if (!cluster.#silent.has(node)) node.heartbeat(controller.url, secret).catch(() => {});
      }
    }, 50);
    t.after(async () => {
      clearInterval(beats);
      await controller.close();
      await store.close();
      await Promise.all(nodes.map((node) => node.stop().catch(() => {})));
      await rm(directory, { recursive: true, force: true });
    });
    return cluster;
  }

  node(index: number): FakeNode {
    const node = this.nodes[index];
    if (node === undefined) throw new RangeError(`no node ${index}`);
    return node;
  }

  /** No more heartbeats, and no answers. */
  async kill(node: FakeNode): Promise<void> {
    this.#silent.add(node);
    await node.stop();
  }

  async revive(node: FakeNode): Promise<void> {
    await node.startAgain();
    this.#silent.delete(node);
  }

  call(method: string, path: string, body?: unknown): Promise<Response> {
    return fetch(this.url + path, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    });
  }
}

/** Waits until `condition` gives something other than false or undefined; at most `limitMs`. */
export async function until<T>(
  what: string,
  condition: () => T | false | undefined | Promise<T | false | undefined>,
  limitMs = 20_000,
): Promise<T> {
  const endMs = performance.now() + limitMs;
  for (;;) {
    const value = await condition();
    if (value !== false && value !== undefined) return value;
    if (performance.now() > endMs) throw new Error(`waited ${limitMs} ms in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
