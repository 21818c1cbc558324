/**
 * The scrub: under the lease, every READY replica is verified from time to time, one at a time on each node, those that
 * were verified the longest ago first. When each was verified is in the store, so another controller goes on where one
 * stopped. A verification that somebody asks for comes first and does not wait.
 *
 * A node rests between two regular verifications, so that they take no more than `scrubShare` of its time.
 */
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { ControllerSettings } from "../base/settings.ts";
import type { Store } from "../store/store.ts";
import { verificationAsked, type NextToVerify } from "../store/verification.ts";
import { Backoff } from "./backoff.ts";
import type { ClusterNode } from "./cluster-node.ts";
import type { LeaseKeeper } from "./lease.ts";
import type { Membership } from "./membership.ts";
import type { ReplicaVerification, VerificationVerdict } from "./replica-verification.ts";
import type { WorkLog } from "./work-log.ts";

export interface ScrubDependencies {
  readonly store: Store;
  readonly membership: Membership;
  readonly verification: ReplicaVerification;
  readonly lease: LeaseKeeper;
  readonly workLog: WorkLog;
  readonly settings: ControllerSettings;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Replicas of one node that could not be verified and wait to be tried again: so many are passed over. */
const passedOverMax = 100;

export class Scrub {
  readonly #deps: ScrubDependencies;
  readonly #backoff: Backoff;
  /** Verifications under way, by node. */
  readonly #running = new Map<string, Promise<void>>();
  /** Monotonic time until which a node rests. */
  readonly #restUntilMs = new Map<string, number>();
  /** By node: what failed lately. */
  readonly #failed = new Map<string, Set<string>>();

  constructor(deps: ScrubDependencies) {
    this.#deps = deps;
    this.#backoff = new Backoff(deps.clock);
  }

  /** Looks for work at the pace of `repairIntervalMs` while the lease is held, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { lease, clock, log, settings } = this.#deps;
    while (!signal.aborted) {
      const held = lease.signal;
      if (held !== undefined) {
        try {
          await this.visit(AbortSignal.any([signal, held]));
        } catch (error) {
          log.debug({ error: messageOf(error) }, "a look for what is to be verified broke off");
        }
      }
      await clock.sleep(settings.repairIntervalMs, signal);
    }
    await Promise.all(this.#running.values());
  }

  /** Starts on every node that is free what is due there. Throws "store-unavailable". */
  async visit(signal: AbortSignal): Promise<void> {
    for (const node of this.#deps.membership.nodes()) {
      if (!node.alive || node.suspect || this.#running.has(node.id) || signal.aborted) continue;
      const next = await this.#next(node);
      if (next === undefined) continue;
      const done = this.#verify(node.id, next, signal).finally(() => this.#running.delete(node.id));
      this.#running.set(node.id, done);
    }
  }

  async #next({ id }: ClusterNode): Promise<NextToVerify | undefined> {
    const { store, clock, settings } = this.#deps;
    const failed = this.#failed.get(id) ?? new Set<string>();
    for (const repositoryId of failed) if (this.#backoff.isDue(`${repositoryId} ${id}`)) failed.delete(repositoryId);
    const nowMs = clock.nowMs();
    const passedOver = [...failed].slice(0, passedOverMax);
    const next = await store.nextToVerify(id, { sinceMs: nowMs - settings.scrubIntervalMs, nowMs }, passedOver);
    if (next === undefined || next.verifiedMs === verificationAsked) return next;
    return (this.#restUntilMs.get(id) ?? 0) <= clock.monotonicMs() ? next : undefined;
  }

  /** Never rejects. */
  async #verify(nodeId: string, { repositoryId }: NextToVerify, signal: AbortSignal): Promise<void> {
    const { verification, clock, settings, log } = this.#deps;
    const startMs = clock.monotonicMs();
    const key = `${repositoryId} ${nodeId}`;
    try {
      const verdict = await this.#shown(repositoryId, nodeId, () => verification.run(repositoryId, nodeId, signal));
      if (verdict === "only-copy") this.#fail(nodeId, repositoryId);
      else this.#backoff.succeeded(key);
    } catch (error) {
      if (signal.aborted) return;
      this.#fail(nodeId, repositoryId);
      log.warn({ nodeId, repositoryId, error: messageOf(error) }, "a replica could not be verified");
    }
    const tookMs = clock.monotonicMs() - startMs;
    this.#restUntilMs.set(nodeId, clock.monotonicMs() + tookMs * (1 / settings.scrubShare - 1));
  }

  /** A large one takes long: people see it as work. */
  async #shown(id: string, nodeId: string, run: () => Promise<VerificationVerdict>): Promise<VerificationVerdict> {
    const { store, workLog } = this.#deps;
    const found = await store.getRepository(id);
    let verdict: VerificationVerdict = "skipped";
    if (found === undefined) return verdict;
    await workLog.run(found.repository, { kind: "verify", nodeId }, async () => {
      verdict = await run();
    });
    return verdict;
  }

  #fail(nodeId: string, repositoryId: string): void {
    this.#backoff.failed(`${repositoryId} ${nodeId}`);
    const failed = this.#failed.get(nodeId) ?? new Set<string>();
    failed.add(repositoryId);
    this.#failed.set(nodeId, failed);
  }
}
