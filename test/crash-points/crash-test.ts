/**
 * Runs crash tests: a server is started with a crash point armed, something is done that comes by there, the server
 * dies by SIGKILL at that point, is started again, and everything is checked once it has healed.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startServers, type Cluster, type ClusterOptions } from "../support/cluster.ts";
import type { Separate } from "../support/servers.ts";
import { waitFor } from "../support/wait.ts";
import { Scene } from "./scene.ts";

export interface Crash {
  /** As in "node-1". */
  readonly server: string;
  /** As GITMESH_CRASH_POINT has it: a name, or name:n for its nth time. */
  readonly point: string;
}

/** Checks the outcome once all is healed: whether what was done is wholly there, or wholly not. */
export type Verdict = (scene: Scene) => Promise<void>;

export interface CrashTest {
  readonly crashes: readonly Crash[];
  /** Before the servers are armed. */
  readonly prepare?: (scene: Scene) => Promise<void>;
  /** While those that will be armed are down. */
  readonly whileDown?: (scene: Scene) => Promise<void>;
  /** Settings of the armed servers. */
  readonly env?: Readonly<Record<string, string>>;
  /** Comes by the points; runs while the servers die. None: they die by themselves. */
  readonly act?: (scene: Scene) => Promise<Verdict>;
  /** After the crash, before the servers are started again. */
  readonly afterCrash?: (scene: Scene) => Promise<void>;
}

const settings = {
  GITMESH_NODE_TIMEOUT_MS: "1500",
  GITMESH_HEARTBEAT_INTERVAL_MS: "200",
  GITMESH_LEASE_MS: "1000",
  GITMESH_REPAIR_INTERVAL_MS: "200",
  GITMESH_NODE_IDLE_MS: "2500",
  GITMESH_APPLY_MS: "2500",
};

export function runCrashTests(tests: readonly CrashTest[], options: ClusterOptions = {}): void {
  let cluster: Cluster<Separate>;
  before(async () => {
    cluster = await startServers({ ...options, env: { ...settings, ...options.env } });
  });
  after(() => cluster.stop());
  for (const [index, crashTest] of tests.entries()) {
    test(titleOf(crashTest), async () => {
      await cluster.heal();
      await runOne(cluster, crashTest, `crash-${index + 1}`);
    });
  }
}

function titleOf({ crashes }: CrashTest): string {
  return crashes.map(({ server, point }) => `${server} dies at ${point}`).join(", ");
}

async function runOne(cluster: Cluster<Separate>, crashTest: CrashTest, name: string): Promise<void> {
  const { crashes } = crashTest;
  const scene = await Scene.open(cluster, name);
  await crashTest.prepare?.(scene);
  const seen = crashes.map((crash) => timesReached(cluster, crash));
  for (const { server } of crashes) if (cluster.servers.isRunning(server)) await cluster.kill(server);
  await crashTest.whileDown?.(scene);
  for (const { server, point } of crashes) {
    cluster.servers.start(server, { ...crashTest.env, GITMESH_CRASH_POINT: point });
  }
  for (const { server } of crashes) await waitServingOrDead(cluster, server);
  const acting = crashTest.act?.(scene);
  // A failure of the act is told below; until then it is not to end the test file.
  acting?.catch(() => {});
  for (const [index, crash] of crashes.entries()) {
    await cluster.servers.untilKilled(crash.server);
    assert.equal(timesReached(cluster, crash), (seen[index] ?? 0) + 1, `${crash.server} died elsewhere`);
  }
  const verdict = await acting;
  await crashTest.afterCrash?.(scene);
  await cluster.heal();
  await verdict?.(scene);
  await scene.assertWhole();
}

function timesReached(cluster: Cluster, { server, point }: Crash): number {
  return cluster.log(server).split(`crash point ${point.replace(/:\d+$/, "")}\n`).length - 1;
}

/** A node that is ready has registered and is known to the controllers. */
async function waitServingOrDead(cluster: Cluster<Separate>, server: string): Promise<void> {
  const number = Number(server.replace(/^\D+/, ""));
  const url = server.startsWith("node-") ? cluster.nodeUrl(server) : cluster.controllerUrl(number);
  await waitFor(async () => !cluster.servers.isRunning(server) || (await fetch(`${url}/readyz`)).ok, {
    what: `${server} to serve, or to die`,
  });
}
