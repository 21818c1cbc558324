/**
 * Tells the controllers that this node is there: registers with what is on the disk, then sends heartbeats to the
 * controller that answered last, or the next one that answers.
 */
import { readFile } from "node:fs/promises";
import { availableParallelism, loadavg } from "node:os";
import { Agent, request } from "undici";
import { z } from "zod";
import { messageOf } from "../base/errors.ts";
import type { Clock } from "../base/clock.ts";
import { crashPoint } from "../base/crash-point.ts";
import type { Logger } from "../base/log.ts";
import { firstSecret } from "../base/secret.ts";
import type { NodeSettings } from "../base/settings.ts";
import { version } from "../base/version.ts";
import {
  clusterPaths,
  heartbeatResponseSchema,
  registerResponseSchema,
  type HeartbeatRequest,
  type RegisterRequest,
} from "../protocol/node-api.ts";
import type { Applier } from "./apply.ts";
import { diskSpace } from "./disk-space.ts";
import type { Repositories } from "./repositories.ts";

export interface HeartbeatOptions {
  readonly settings: NodeSettings;
  readonly repositories: Repositories;
  readonly applier: Applier;
  /** Of identity.json. */
  readonly nodeId: string;
  readonly identityFile: string;
  readonly bootId: string;
  readonly advertiseUrl: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** The disk is not the one that this process started with: it must not go on. */
  readonly onForeignDisk: () => void;
}

/** Short against the death timeout, so that another controller is asked in time. */
const callMs = 2000;
/** A registration carries the whole inventory. */
const registerMs = 60_000;

export class HeartbeatSender {
  readonly #options: HeartbeatOptions;
  readonly #agent = new Agent({ connectTimeout: callMs, pipelining: 1 });
  readonly #stop = new AbortController();
  #loop: Promise<void> = Promise.resolve();
  #registered = false;
  /** The controllers do not know this start of the node (yet, or any more). */
  #unknown = true;
  #controller = 0;
  #lastProblem = "";
  #lastHeartbeatMs: number | undefined;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
  }

  /** True once a controller has taken this node in, for good. */
  get registered(): boolean {
    return this.#registered;
  }

  start(): void {
    this.#loop = this.#run();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#agent.destroy();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { settings, clock, log } = this.#options;
    const { signal } = this.#stop;
    let unsent = new Set<string>();
    const suspects = new Set<string>();
    while (!signal.aborted) {
      try {
        if (!(await this.#diskIsOurs())) return;
        if (this.#unknown) await this.#register();
        for (const id of this.#options.repositories.takeChanged()) unsent.add(id);
        for (const id of this.#options.repositories.takeSuspects()) suspects.add(id);
        if (await this.#beat([...unsent], [...suspects])) {
          unsent = new Set();
          suspects.clear();
        } else await this.#register();
        if (this.#lastProblem !== "") log.info("a controller answers again");
        this.#lastProblem = "";
      } catch (error) {
        // The same trouble every second is worth one line.
        const problem = messageOf(error);
        if (!signal.aborted && problem !== this.#lastProblem)
          log.warn({ error: problem }, "no controller takes this node");
        this.#lastProblem = problem;
      }
      await clock.sleep(settings.heartbeatIntervalMs, signal);
    }
  }

  async #register(): Promise<void> {
    this.#unknown = true;
    const { repositories, applier, nodeId, bootId, advertiseUrl, settings, log } = this.#options;
    const body: RegisterRequest = {
      id: nodeId,
      url: advertiseUrl,
      bootId,
      version,
      ...(await diskSpace(settings.directory)),
      inventory: (await repositories.inventory()).map(({ repositoryId, generation }) => ({ repositoryId, generation })),
    };
    crashPoint("registration.inventory-taken");
    const answer = await this.#call(clusterPaths.register, body, registerResponseSchema, registerMs);
    crashPoint("registration.answered");
    for (const id of answer.deletedRepositoryIds)
      await applier.exclusive(id, () => repositories.retire(id, { reason: "deleted" }));
    if (answer.orphanRepositoryIds.length > 0) {
      log.warn({ repositoryIds: answer.orphanRepositoryIds }, "directories that the cluster does not know; they stay");
    }
    this.#unknown = false;
    this.#registered = true;
    log.info({ nodeId, replicas: body.inventory.length }, "registered");
  }

  /** False when the controller wants a registration. */
  async #beat(changed: readonly string[], suspects: readonly string[]): Promise<boolean> {
    const { repositories, nodeId, bootId, settings } = this.#options;
    const sizes: { repositoryId: string; sizeBytes: number }[] = [];
    for (const repositoryId of changed) {
      const sizeBytes = await repositories.sizeBytes(repositoryId).catch(() => undefined);
      if (sizeBytes !== undefined) sizes.push({ repositoryId, sizeBytes });
    }
    const loadAverage = (loadavg()[0] ?? 0) / availableParallelism();
    const lastHeartbeatMs = this.#lastHeartbeatMs;
    const body: HeartbeatRequest = {
      id: nodeId,
      bootId,
      ...(await diskSpace(settings.directory)),
      ...(lastHeartbeatMs === undefined ? {} : { lastHeartbeatMs }),
      loadAverage,
      sizes,
      suspects: [...suspects],
    };
    const answer = await this.#call(clusterPaths.heartbeat, body, heartbeatResponseSchema, callMs);
    this.#lastHeartbeatMs = answer.heartbeatMs;
    return !answer.register;
  }

  async #call<R>(path: string, body: unknown, schema: z.ZodType<R>, timeoutMs: number): Promise<R> {
    const { controllers, secret } = this.#options.settings;
    let failure: unknown;
    for (let attempt = 0; attempt < controllers.length; attempt += 1) {
      const url = controllers[(this.#controller + attempt) % controllers.length] ?? "";
      try {
        const answer = await request(`${url}${path}`, {
          method: "POST",
          dispatcher: this.#agent,
          headersTimeout: timeoutMs,
          bodyTimeout: timeoutMs,
          signal: this.#stop.signal,
          headers: { "content-type": "application/json", authorization: `Bearer ${firstSecret(secret)}` },
          body: JSON.stringify(body),
        });
        const text = await answer.body.text();
        if (answer.statusCode !== 200) throw new Error(`${url} answered ${answer.statusCode}: ${detailOf(text)}`);
        this.#controller = (this.#controller + attempt) % controllers.length;
        return schema.parse(JSON.parse(text));
      } catch (error) {
        failure = error;
      }
    }
    throw failure instanceof Error ? failure : new Error("no controller is set");
  }

  /** An emptied or exchanged disk is not served: a restart registers it for what it is. */
  async #diskIsOurs(): Promise<boolean> {
    // A file that cannot be read just now (no descriptor left, an error of the disk) says nothing: a beat is missed.
    const text = await readFile(this.#options.identityFile, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT" || error.code === "ENOTDIR") return "";
      throw error;
    });
    if (text.includes(this.#options.nodeId)) return true;
    this.#options.log.fatal({ file: this.#options.identityFile }, "the identity on the disk is gone or another's");
    this.#options.onForeignDisk();
    return false;
  }
}

/** What is wrong, without what differs from answer to answer: the same trouble is told once. */
function detailOf(text: string): string {
  const problem = z.object({ detail: z.string() }).safeParse(parsed(text));
  return (problem.data?.detail ?? text).slice(0, 300);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
