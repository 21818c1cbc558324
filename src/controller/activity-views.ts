/** What the REST API shows of events, work and pushes (protocol/activity-api.ts). Pure. */
import type { EventView, PushView, WorkView } from "../protocol/activity-api.ts";
import { refNameText } from "../protocol/ref-name.ts";
import type { ClusterEvent, PushRecord, WorkRecord } from "../store/activity.ts";
import type { ClusterNode } from "./cluster-node.ts";

/** Whatever knows the nodes. */
export interface NodesById {
  get(nodeId: string): ClusterNode | undefined;
}

/** Of the work, running before failed; more is not shown. */
export const workItemsMax = 500;
/** Refs of a push that are listed. */
const pushRefsMax = 20;

export function eventView(event: ClusterEvent, nodes: NodesById): EventView {
  return {
    id: event.id,
    at: event.atMs,
    kind: event.kind,
    repositoryId: event.repositoryId,
    repository: event.repositoryName,
    nodeId: event.nodeId,
    node: nodes.get(event.nodeId)?.url ?? "",
    detail: event.detail,
  };
}

export function workView(work: WorkRecord, nodes: NodesById): WorkView {
  return {
    repositoryId: work.repositoryId,
    repository: work.repositoryName,
    nodeId: work.nodeId,
    node: nodes.get(work.nodeId)?.url ?? "",
    kind: work.kind,
    state: work.state,
    startedAt: work.startedMs,
    updatedAt: work.updatedMs,
    progress: work.progress,
    detail: work.detail,
    failures: work.failures,
  };
}

export function pushView(push: PushRecord, nodes: NodesById): PushView {
  const refs = push.refs.slice(0, pushRefsMax);
  return {
    generation: push.generation,
    pushId: push.pushId,
    at: push.committedMs,
    actor: push.actor,
    refs: refs.map(({ name, oldOid, newOid }) => {
      return { name: refNameText(name), old: oldOid ?? null, new: newOid ?? null };
    }),
    refsTotal: push.refs.length,
    replicas: Object.entries(push.stagedMs).map(([nodeId, ms]) => {
      return { nodeId, url: nodes.get(nodeId)?.url ?? "", ms };
    }),
  };
}
