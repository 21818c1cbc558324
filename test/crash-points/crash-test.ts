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

/** Of the servers of a crash test: what waits in a real cluster is soon over. */
export const settings = {
  GITMESH_NODE_TIMEOUT_MS: "3000",
  GITMESH_HEARTBEAT_INTERVAL_MS: "200",
  GITMESH_LEASE_MS: "1000",
  GITMESH_REPAIR_INTERVAL_MS: "200",
  GITMESH_NODE_IDLE_MS: "2500",
  GITMESH_APPLY_MS: "2500",
};

export function runCrashTests(tests: readonly CrashTest[], options: ClusterOptions = {}): void {
  let cluster: Cluster<Separate>;
  let stop = async (): Promise<void> => {};
  before(async () => {
    cluster = await startServers({ ...options, env: { ...settings, ...options.env } });
    stop = () => cluster.stop();
  });
  after(() => stop());
  for (const [index, crashTest] of tests.entries()) {
    test(titleOf(crashTest), async () => {
      await runCrashTest(cluster, crashTest, `crash-${index + 1}`).catch((error: unknown) => {
        // Died late, if at all: the next test is to start whole.
        for (const { server } of crashTest.crashes) cluster.servers.forgetEnded(server);
        throw error;
      });
    });
  }
}

export function titleOf({ crashes }: CrashTest): string {
  return crashes.map(({ server, point }) => `${server} dies at ${point}`).join(", ");
}

/** On a repository of this name, which is new. */
export async function runCrashTest(cluster: Cluster<Separate>, crashTest: CrashTest, name: string): Promise<void> {
  await cluster.heal();
  const scene = await Scene.open(cluster, name);
  await crashTest.prepare?.(scene);
  const { crashes, whileDown, env, act } = crashTest;
  const verdict = await crashAll(cluster, crashes, {
    whileDown: async () => whileDown?.(scene),
    env,
    act: async () => act?.(scene),
  });
  if (cluster.servers.isRunning("controller-1")) {
    const found = await cluster.api("GET", `/api/repos/${scene.name}`);
    for (const { server } of found.status === 200 ? crashes : []) await scene.assertRecordHolds(server);
  }
  await crashTest.afterCrash?.(scene);
  await cluster.heal();
  await verdict?.(scene);
  await scene.assertWhole();
}

/** One server dies at a point while `act` runs, and stays dead. */
export async function crashOf<T>(cluster: Cluster<Separate>, crash: Crash, act: () => Promise<T>): Promise<T> {
  return await crashAll(cluster, [crash], { whileDown: async () => {}, env: {}, act });
}

interface Course<T> {
  readonly whileDown: () => Promise<void>;
  readonly env: Readonly<Record<string, string>> | undefined;
  readonly act: () => Promise<T>;
}

async function crashAll<T>(cluster: Cluster<Separate>, crashes: readonly Crash[], course: Course<T>): Promise<T> {
  const seen = crashes.map((crash) => timesReached(cluster, crash));
  for (const { server } of crashes) if (cluster.servers.isRunning(server)) await cluster.kill(server);
  await course.whileDown();
  for (const { server, point } of crashes) {
    cluster.servers.start(server, { ...course.env, GITMESH_CRASH_POINT: point });
  }
  for (const { server } of crashes) await waitServingOrDead(cluster, server);
  const acting = course.act();
  // Awaited below; until then a failure is not to end the test file.
  acting.catch(() => {});
  for (const [index, crash] of crashes.entries()) {
    // What the act found may say why nobody died.
    await cluster.servers.untilKilled(crash.server).catch(async (error: unknown) => {
      await acting;
      throw error;
    });
    assert.equal(timesReached(cluster, crash), (seen[index] ?? 0) + 1, `${crash.server} died elsewhere`);
  }
  return await acting;
}

function timesReached(cluster: Cluster, { server, point }: Crash): number {
  return cluster.log(server).split(`crash point ${point.replace(/:\d+$/, "")}\n`).length - 1;
}

/** A node that is ready has registered; a controller is to have heard of every node that runs. */
async function waitServingOrDead(cluster: Cluster<Separate>, server: string): Promise<void> {
  const number = Number(server.replace(/^\D+/, ""));
  const isNode = server.startsWith("node-");
  const url = isNode ? cluster.nodeUrl(server) : cluster.controllerUrl(number);
  const serves = async (): Promise<boolean> => {
    if (isNode) return (await fetch(`${url}/readyz`)).ok;
    const alive = (await cluster.nodes(number)).filter(({ state }) => state === "ALIVE").map((node) => node.url);
    const running = cluster.nodeNames().filter((node) => cluster.servers.isRunning(node));
    return running.every((node) => alive.includes(cluster.nodeUrl(node)));
  };
  await waitFor(async () => !cluster.servers.isRunning(server) || (await serves()), {
    what: `${server} to serve, or to die`,
    limitMs: 60_000,
  });
}
