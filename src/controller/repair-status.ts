/** What the repair has to do, as every controller can tell: computed anew from the store by the repair's own plan. */
import type { ControllerSettings } from "../base/settings.ts";
import type { WorkRecord } from "../store/activity.ts";
import type { RepositoryWithReplicas, ReplicaState, Store } from "../store/store.ts";
import { workItemsMax } from "./activity-views.ts";
import type { ClusterNode } from "./cluster-node.ts";
import type { Membership } from "./membership.ts";
import { planRepair, type RepairPlan, type RepairStep } from "./repair-plan.ts";

export interface RepairWork {
  readonly repository: string;
  readonly nodeId: string;
  /** Undefined for a replica that is to be added. */
  readonly state: ReplicaState | undefined;
  /** "wait": nothing can be done now. "move": it stays until the others are READY. */
  readonly step: RepairStep["kind"] | "move" | "wait";
  readonly reason: string;
  /** Of the state, or of the move; -1 when there is none, or it is not known. */
  readonly sinceMs: number;
  /** Where it moves; "" when that is not known yet, or it does not move. */
  readonly toNodeId: string;
  /** Of the step under way, as WorkRecord has it; of a move, of the replica that comes in its place. */
  readonly progress: number;
  /** -1 when none is under way. */
  readonly startedMs: number;
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
  membership: Pick<Membership, "nodes">,
  settings: Pick<ControllerSettings, "repairGraceMs" | "diskUsageMax">,
): Promise<RepairStatus> {
  const nodes = membership.nodes();
  const moving = await store.listLeaving(repositoriesMax);
  const found = await needy(
    store,
    nodes,
    moving.map(({ repositoryId }) => repositoryId),
  );
  const leaving = await store.leavingOf(found.map(({ repository }) => repository.id));
  const running = (await store.listWork(workItemsMax)).filter(({ state }) => state === "running");
  const work: RepairWork[] = [];
  const stuck: { repository: string; reason: string }[] = [];
  // Which node a new replica would come to is decided when it does.
  const { repairGraceMs, diskUsageMax } = settings;
  for (const one of found) {
    const { id, name } = one.repository;
    const mine = new Map(
      leaving.filter(({ repositoryId }) => repositoryId === id).map(({ nodeId, sinceMs }) => [nodeId, sinceMs]),
    );
    const rules = { repairGraceMs, diskUsageMax, random: () => 0, leaving: new Set(mine.keys()) };
    const plan = planRepair(one, nodes, rules);
    if (plan.stuck !== "") stuck.push({ repository: name, reason: plan.stuck });
    work.push(
      ...workOn(one, { plan, nodes, leaving: mine, running: running.filter((row) => row.repositoryId === id) }),
    );
  }
  return { work, stuck };
}

interface Known {
  readonly plan: RepairPlan;
  readonly nodes: readonly ClusterNode[];
  /** Since when a replica is to leave, by node. */
  readonly leaving: ReadonlyMap<string, number>;
  /** Steps under way in this repository. */
  readonly running: readonly WorkRecord[];
}

/** What one repository needs, replica by replica. */
function workOn({ repository, replicas }: RepositoryWithReplicas, known: Known): readonly RepairWork[] {
  const work: RepairWork[] = [];
  const steps = new Map(known.plan.steps.map((step) => [step.nodeId, step]));
  const nodeOf = new Map(known.nodes.map((node) => [node.id, node]));
  const isDraining = (nodeId: string): boolean => nodeOf.get(nodeId)?.draining === true;
  const isLeaving = (nodeId: string): boolean => known.leaving.has(nodeId) || isDraining(nodeId);
  const progressOn = (nodeId: string): Pick<RepairWork, "progress" | "startedMs"> => {
    const row = known.running.find((one) => one.nodeId === nodeId);
    return { progress: row?.progress ?? -1, startedMs: row?.startedMs ?? -1 };
  };
  const place = { repository: repository.name, toNodeId: "" };
  const coming = replicas.find(
    ({ nodeId, state }) => state !== "READY" && state !== "QUARANTINED" && !isLeaving(nodeId),
  );
  for (const { nodeId, state, reason, stateSinceMs } of replicas) {
    const step = steps.get(nodeId);
    steps.delete(nodeId);
    const at = { ...place, nodeId, state };
    if (state === "READY" && step === undefined && isLeaving(nodeId)) {
      const sinceMs = known.leaving.get(nodeId) ?? -1;
      const why = isDraining(nodeId) ? "its repository server is draining" : "it was asked to move";
      const toNodeId = coming?.nodeId ?? "";
      work.push({ ...at, ...progressOn(toNodeId), step: "move", reason: why, sinceMs, toNodeId });
    } else if (state !== "READY" || step !== undefined || reason !== "") {
      const why = step === undefined && nodeOf.get(nodeId)?.alive !== true ? deadReason(reason) : reason;
      work.push({ ...at, ...progressOn(nodeId), step: step?.kind ?? "wait", reason: why, sinceMs: stateSinceMs });
    }
  }
  for (const { kind, nodeId } of steps.values()) {
    const at = { ...place, nodeId, state: undefined };
    work.push({ ...at, ...progressOn(nodeId), step: kind, reason: "too few replicas", sinceMs: -1 });
  }
  return work;
}

function deadReason(reason: string): string {
  return `its repository server is dead${reason === "" ? "" : `; ${reason}`}`;
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

/** Repositories that the store calls unhealthy, those with a replica on a node that is not alive or is draining, and `more`. */
async function needy(
  store: Store,
  nodes: readonly ClusterNode[],
  more: readonly string[] = [],
): Promise<readonly RepositoryWithReplicas[]> {
  const found = new Map<string, RepositoryWithReplicas>();
  let afterId = "";
  while (found.size < repositoriesMax) {
    const page = await store.listUnhealthy(afterId, pageSize);
    for (const one of page) found.set(one.repository.id, one);
    if (page.length < pageSize) break;
    afterId = page.at(-1)?.repository.id ?? "";
  }
  const ids = new Set(more);
  for (const { id } of nodes.filter(({ alive, draining }) => !alive || draining)) {
    for (const repositoryId of await store.repositoryIdsOfNode(id, repositoriesMax)) ids.add(repositoryId);
  }
  const others = [...ids].filter((id) => !found.has(id)).slice(0, Math.max(0, repositoriesMax - found.size));
  return [...found.values(), ...(await store.getRepositories(others))];
}
