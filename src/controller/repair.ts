/**
 * The background work on replicas, run by the controller that holds the lease: looks at the repositories that the store
 * calls unhealthy, and in turn at all the others (a READY replica whose node is gone, or whose own refs lag, looks
 * healthy to the store), asks repair-plan.ts what they need, and does it, a few repositories at a time.
 *
 * Every step is a compare-and-set in the store or can be done twice: two controllers that both think they hold the
 * lease do double work and no harm.
 */
import type { Clock } from "../base/clock.ts";
import { crashPoint } from "../base/crash-point.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { ControllerSettings } from "../base/settings.ts";
import type { LeavingReplica } from "../store/moves.ts";
import type { RepositoryWithReplicas, Store } from "../store/store.ts";
import type { ReplicaApplier } from "./apply.ts";
import { Backoff } from "./backoff.ts";
import type { LeaseKeeper } from "./lease.ts";
import type { Membership } from "./membership.ts";
import { moveAside } from "./moving-aside.ts";
import type { NodeClient } from "./node-client.ts";
import type { ReplicaCatchUp } from "./replica-catch-up.ts";
import { planRepair, type RepairStep } from "./repair-plan.ts";
import type { WorkLog } from "./work-log.ts";

export interface RepairDependencies {
  readonly store: Store;
  readonly nodeClient: NodeClient;
  readonly membership: Membership;
  readonly applier: ReplicaApplier;
  readonly catchUp: ReplicaCatchUp;
  readonly lease: LeaseKeeper;
  readonly workLog: WorkLog;
  readonly settings: ControllerSettings;
  readonly clock: Clock;
  readonly log: Logger;
}

const repositoriesAtOnce = 4;
/** A repair that takes this long counts no more for that number, as long as there are not more than these. */
const longMs = 5000;
const longOnesMax = 8;
const lookAgainMs = 1000;
const unhealthyPage = 100;
/** Pages of unhealthy repositories in one visit; the next visit goes on from there. */
const unhealthyPagesMax = 5;
const sweepPage = 200;
/** Replicas of one draining node, and replicas that are to move, looked at in one visit. */
const leavingMax = 100;
/** READY replicas lag for a moment after each push: only one that stays at its generation this long is helped. */
const lagMs = 2000;

export class Repair {
  readonly #deps: RepairDependencies;
  readonly #backoff: Backoff;
  /** Repairs under way, by repository id. */
  readonly #running = new Map<
    string,
    { readonly name: string; readonly done: Promise<void>; readonly beganMs: number }
  >();
  /** Lagging replicas: where they are, and since when they were seen there. */
  readonly #lagging = new Map<string, { readonly generation: number; readonly sinceMs: number }>();
  #stuck = new Map<string, string>();
  /** Where the last visit ended: replicas that are to move; by draining node, the repositories on it. */
  #leavingAfter: LeavingReplica | undefined;
  readonly #drainedAfter = new Map<string, string>();
  #unhealthyAfter = "";
  #sweepCursor: string | undefined;

  constructor(deps: RepairDependencies) {
    this.#deps = deps;
    this.#backoff = new Backoff(deps.clock);
  }

  /** Names of the repositories that are being repaired. */
  running(): readonly string[] {
    return [...this.#running.values()].map(({ name }) => name);
  }

  /** Visits at the pace of `repairIntervalMs` while the lease is held, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { lease, clock, log, settings } = this.#deps;
    while (!signal.aborted) {
      const held = lease.signal;
      if (held !== undefined) {
        try {
          await this.visit(AbortSignal.any([signal, held]), signal);
        } catch (error) {
          log.debug({ error: messageOf(error) }, "a repair visit broke off");
        }
      }
      await clock.sleep(settings.repairIntervalMs, signal);
    }
    await this.settled();
  }

  /** Resolves when no repair is under way. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.all([...this.#running.values()].map(({ done }) => done));
  }

  /**
   * Looks at some of the repositories and starts what they need, until `signal` aborts. What was started ends with
   * `stop`: a lease that is lost for a moment is no reason to begin long catch-ups again. Throws "store-unavailable".
   */
  async visit(signal: AbortSignal, stop: AbortSignal): Promise<void> {
    const { store, membership } = this.#deps;
    // A node that another controller took in a moment ago is not a lost one.
    await membership.refresh();
    for (let page = 0; page < unhealthyPagesMax && !signal.aborted; page += 1) {
      const found = await store.listUnhealthy(this.#unhealthyAfter, unhealthyPage);
      await this.#considerAll(found, signal, stop);
      this.#unhealthyAfter = found.length < unhealthyPage ? "" : (found.at(-1)?.repository.id ?? "");
      if (this.#unhealthyAfter === "") break;
    }
    await this.#considerLeaving(signal, stop);
    if (signal.aborted) return;
    const { items, next } = await store.listRepositories({ limit: sweepPage, cursor: this.#sweepCursor, sort: "name" });
    this.#sweepCursor = next;
    await this.#considerAll(items, signal, stop);
    for (const repository of items) await this.#trimLog(repository, signal);
  }

  /**
   * What is to leave its node looks healthy to the store. Some in each visit, from where the last one ended: those that
   * cannot leave must not stand before the others.
   */
  async #considerLeaving(signal: AbortSignal, stop: AbortSignal): Promise<void> {
    const { store, membership } = this.#deps;
    const moving = await store.listLeaving(leavingMax, this.#leavingAfter);
    this.#leavingAfter = moving.length < leavingMax ? undefined : moving.at(-1);
    const ids = new Set(moving.map(({ repositoryId }) => repositoryId));
    const draining = membership.nodes().filter((node) => node.draining);
    for (const id of this.#drainedAfter.keys())
      if (!draining.some((node) => node.id === id)) this.#drainedAfter.delete(id);
    for (const node of draining) {
      const onIt = await store.repositoryIdsOfNode(node.id, leavingMax, this.#drainedAfter.get(node.id));
      this.#drainedAfter.set(node.id, onIt.length < leavingMax ? "" : (onIt.at(-1) ?? ""));
      for (const id of onIt) ids.add(id);
    }
    if (!signal.aborted) await this.#considerAll(await store.getRepositories([...ids]), signal, stop);
  }

  async #considerAll(found: readonly RepositoryWithReplicas[], signal: AbortSignal, stop: AbortSignal): Promise<void> {
    const leaving = await this.#deps.store.leavingOf(found.map(({ repository }) => repository.id));
    for (const one of found) {
      if (signal.aborted) return;
      const mine = leaving.filter(({ repositoryId }) => repositoryId === one.repository.id);
      await this.#consider(one, new Set(mine.map(({ nodeId }) => nodeId)), signal, stop);
    }
  }

  /** Starts what the repository needs, when there is room for one more. */
  async #consider(
    found: RepositoryWithReplicas,
    leaving: ReadonlySet<string>,
    signal: AbortSignal,
    stop: AbortSignal,
  ): Promise<void> {
    const { store, membership, settings, clock, log } = this.#deps;
    const { id, name } = found.repository;
    if (this.#running.has(id) || signal.aborted) return;
    const rules = {
      repairGraceMs: settings.repairGraceMs,
      diskUsageMax: settings.diskUsageMax,
      random: () => clock.random(),
      leaving,
    };
    const plan = planRepair(found, membership.nodes(), rules);
    if (plan.stuck === "") this.#stuck.delete(id);
    else if (this.#stuck.get(id) !== plan.stuck) {
      this.#stuck.set(id, plan.stuck);
      log.error({ repository: name, reason: plan.stuck }, "repair is stuck");
      await store.addEvent({ kind: "repair-stuck", repository: { id, name }, detail: plan.stuck });
    }
    const steps = plan.steps.filter((step) => this.#isDue(id, step));
    if (steps.length === 0) return;
    while (!this.#hasRoom()) {
      const ends = [...this.#running.values()].map(({ done }) => done);
      await Promise.race([...ends, clock.sleep(lookAgainMs, signal)]);
    }
    if (signal.aborted || this.#running.has(id)) return;
    const done = this.#work(found, steps, stop).finally(() => this.#running.delete(id));
    this.#running.set(id, { name, done, beganMs: clock.monotonicMs() });
  }

  /** What takes long (filling a large replica) must not hold up what is short: it gives its place to another. */
  #hasRoom(): boolean {
    const nowMs = this.#deps.clock.monotonicMs();
    const short = [...this.#running.values()].filter(({ beganMs }) => nowMs - beganMs < longMs);
    return short.length < repositoriesAtOnce && this.#running.size < longOnesMax + repositoriesAtOnce;
  }

  #isDue(repositoryId: string, step: RepairStep): boolean {
    const key = `${repositoryId} ${step.nodeId}`;
    if (step.kind === "apply" && !this.#lagsForLong(key, step.generation)) return false;
    return this.#backoff.isDue(key);
  }

  #lagsForLong(key: string, generation: number): boolean {
    const nowMs = this.#deps.clock.monotonicMs();
    const seen = this.#lagging.get(key);
    if (seen?.generation === generation) return nowMs - seen.sinceMs >= lagMs;
    // What was seen long ago has caught up since.
    for (const [other, { sinceMs }] of this.#lagging) if (nowMs - sinceMs > 100 * lagMs) this.#lagging.delete(other);
    this.#lagging.set(key, { generation, sinceMs: nowMs });
    return false;
  }

  /** One step after the other, as the later ones may rest on the earlier. Never rejects. */
  async #work(found: RepositoryWithReplicas, steps: readonly RepairStep[], signal: AbortSignal): Promise<void> {
    const { id, name } = found.repository;
    for (const step of steps) {
      if (signal.aborted) return;
      const key = `${id} ${step.nodeId}`;
      try {
        await this.#deps.workLog.run(found.repository, step, (onProgress) => this.#do(found, step, signal, onProgress));
        this.#backoff.succeeded(key);
      } catch (error) {
        if (signal.aborted) return;
        this.#backoff.failed(key);
        this.#deps.log.warn(
          { repository: name, nodeId: step.nodeId, step: step.kind, error: messageOf(error) },
          "a repair failed",
        );
        await this.#deps.store.noteReason(id, step.nodeId, messageOf(error).slice(0, 500)).catch(() => {});
      }
    }
  }

  async #do(
    { repository }: RepositoryWithReplicas,
    step: RepairStep,
    signal: AbortSignal,
    onProgress: (text: string) => void,
  ): Promise<void> {
    const { store, catchUp, clock, log } = this.#deps;
    const { id, name } = repository;
    switch (step.kind) {
      case "catch-up":
        return catchUp.run(id, step.nodeId, signal, onProgress);
      case "apply":
        return this.#applyFromLog(id, step.nodeId, step.generation);
      case "add":
        crashPoint("failover.planned");
        if (!(await store.addReplica(id, step.nodeId, step.reason, clock.nowMs()))) return;
        crashPoint("failover.placed");
        log.info({ repository: name, nodeId: step.nodeId }, "adding a replica");
        return catchUp.run(id, step.nodeId, signal, onProgress);
      case "remove":
        return this.#remove(id, name, step);
    }
  }

  /** What the ref log does not bring about, a catch-up does: it sets all refs. Never of the last READY replicas. */
  async #applyFromLog(repositoryId: string, nodeId: string, generation: number): Promise<void> {
    const { store, applier, clock } = this.#deps;
    if ((await applier.applyFromLog(repositoryId, nodeId, generation)) !== undefined) return;
    const found = await store.getRepository(repositoryId);
    const replica = found?.replicas.find((candidate) => candidate.nodeId === nodeId);
    if (found === undefined || replica?.state !== "READY" || replica.generation > generation) return;
    const readyElsewhere = found.replicas.filter(
      (other) => other.state === "READY" && other.nodeId !== nodeId && other.generation > generation,
    ).length;
    if (readyElsewhere > 0) {
      const reason = `its refs do not follow beyond generation ${generation}`;
      await store.markStale(repositoryId, [nodeId], reason, clock.nowMs());
    }
    throw new Error(`it did not apply what follows generation ${generation}`);
  }

  /** The record first; the directory is moved aside then, or as an orphan when its node comes back. */
  async #remove(repositoryId: string, name: string, step: RepairStep & { readonly kind: "remove" }): Promise<void> {
    const { store, nodeClient, membership, log } = this.#deps;
    if (!(await store.removeReplica(repositoryId, step.nodeId, step.readyElsewhere, step.reason))) return;
    crashPoint("remove.committed");
    log.info({ repository: name, nodeId: step.nodeId, reason: step.reason }, "replica removed");
    const node = membership.get(step.nodeId);
    // Another controller may put it there again meanwhile.
    const isUnwanted = async (): Promise<boolean> => {
      const found = await store.getRepository(repositoryId);
      return found?.replicas.every(({ nodeId }) => nodeId !== step.nodeId) === true;
    };
    if (node?.alive === true) {
      await moveAside(nodeClient, { url: node.url, repositoryId, reason: step.reason, isUnwanted });
    }
    crashPoint("remove.node-told");
  }

  async #trimLog({ repository }: RepositoryWithReplicas, signal: AbortSignal): Promise<void> {
    const { store, settings, clock } = this.#deps;
    const keepFrom = repository.generation - settings.refLogKeep + 1;
    if (keepFrom <= 1 || signal.aborted) return;
    const [first] = await store.readRefLog(repository.id, 0, 1);
    // A push whose COMMIT had no answer finds out by the log what became of it.
    const committedBeforeMs = clock.nowMs() - settings.refLogKeepMs;
    if (first !== undefined && first.generation < keepFrom && first.committedMs < committedBeforeMs)
      await store.trimRefLog(repository.id, keepFrom, committedBeforeMs);
  }
}
