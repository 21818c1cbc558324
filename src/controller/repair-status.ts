/** What the repair has to do, as every controller can tell: computed anew from the store by the repair's own plan. */
import type { ControllerSettings } from "../base/settings.ts";
import type { LeavingReplica } from "../store/moves.ts";
import type { RepositoryWithReplicas, ReplicaState, Store } from "../store/store.ts";
import type { ClusterNode } from "./cluster-node.ts";
import type { Membership } from "./membership.ts";
import { planRepair, type RepairStep } from "./repair-plan.ts";

export interface RepairWork {
  readonly repository: string;
  readonly nodeId: string;
  /** Undefined for a replica that is to be added. */
  readonly state: ReplicaState | undefined;
  /** "wait": nothing can be done now. */
  readonly step: RepairStep["kind"] | "wait";
  readonly reason: string;
  readonly sinceMs: number;
}

export interface RepairStatus {
  readonly work: readonly RepairWork[];
  readonly stuck: readonly { readonly repository: string; readonly reason: string }[];
}

/** A repository with fewer complete copies of its newest generation than wanted. */
export interface DataLossRisk {
  readonly found: RepositoryWithReplicas;
  /** READY replicas: they have every object of the newest generation. */
  readonly complete: number;
  /** Of these, on live nodes. */
  readonly reachable: number;
}

const pageSize = 200;
/** More are not listed. */
const repositoriesMax = 1000;

/** Throws "store-unavailable". */
export async function repairStatus(
  store: Store,
  membership: Membership,
  settings: ControllerSettings,
): Promise<RepairStatus> {
  const work: RepairWork[] = [];
  const stuck: { repository: string; reason: string }[] = [];
  // Which node a new replica would come to is decided when it does.
  const { repairGraceMs, diskUsageMax } = settings;
  const leaving = await store.listLeaving(repositoriesMax);
  for (const found of await needy(store, membership.nodes(), leaving)) {
    const mine = leaving.filter(({ repositoryId }) => repositoryId === found.repository.id);
    const rules = { repairGraceMs, diskUsageMax, random: () => 0, leaving: new Set(mine.map(({ nodeId }) => nodeId)) };
    const plan = planRepair(found, membership.nodes(), rules);
    const { name } = found.repository;
    if (plan.stuck !== "") stuck.push({ repository: name, reason: plan.stuck });
    const stepOf = new Map(plan.steps.map((step) => [step.nodeId, step]));
    for (const { nodeId, state, reason, stateSinceMs } of found.replicas) {
      const step = stepOf.get(nodeId);
      stepOf.delete(nodeId);
      if (state === "READY" && step === undefined && reason === "") continue;
      work.push({ repository: name, nodeId, state, step: step?.kind ?? "wait", reason, sinceMs: stateSinceMs });
    }
    for (const { kind, nodeId } of stepOf.values()) {
      work.push({ repository: name, nodeId, state: undefined, step: kind, reason: "too few replicas", sinceMs: -1 });
    }
  }
  return { work, stuck };
}

/** Worst first: those that are nearest to having no complete copy. Throws "store-unavailable". */
export async function dataLossRisks(store: Store, membership: Membership): Promise<readonly DataLossRisk[]> {
  const risks: DataLossRisk[] = [];
  for (const found of await needy(store, membership.nodes())) {
    const ready = found.replicas.filter(({ state, reason }) => state === "READY" && reason === "");
    const reachable = ready.filter(({ nodeId }) => membership.get(nodeId)?.alive === true).length;
    if (reachable < found.repository.replicasWanted) risks.push({ found, complete: ready.length, reachable });
  }
  return risks.toSorted(
    (one, other) =>
      one.reachable - other.reachable ||
      one.complete - other.complete ||
      one.found.repository.name.localeCompare(other.found.repository.name),
  );
}

/**
 * Repositories that the store calls unhealthy, and those with a replica on a node that is not alive, or that is to leave
 * its node.
 */
async function needy(
  store: Store,
  nodes: readonly ClusterNode[],
  leaving: readonly LeavingReplica[] = [],
): Promise<readonly RepositoryWithReplicas[]> {
  const found = new Map<string, RepositoryWithReplicas>();
  let afterId = "";
  while (found.size < repositoriesMax) {
    const page = await store.listUnhealthy(afterId, pageSize);
    for (const one of page) found.set(one.repository.id, one);
    if (page.length < pageSize) break;
    afterId = page.at(-1)?.repository.id ?? "";
  }
  const more = leaving.map(({ repositoryId }) => repositoryId);
  for (const { id } of nodes.filter(({ alive, draining }) => !alive || draining)) {
    for (const { replica } of await store.listReplicasOfNode(id)) more.push(replica.repositoryId);
  }
  for (const id of more) {
    if (found.size >= repositoriesMax) break;
    if (found.has(id)) continue;
    const one = await store.getRepository(id);
    if (one !== undefined) found.set(id, one);
  }
  return [...found.values()];
}
