/** The state of everything in one line, and where to look. Pure. */
import type { ClusterView, NodeView } from "./data/api.ts";
import { count, nodeName, plural } from "./format.ts";

export interface Health {
  readonly level: "good" | "warning" | "bad" | "empty";
  readonly sentence: string;
  /** More, where one line does not say it. */
  readonly detail: string;
  /** Where to look; undefined when there is nothing to see. */
  readonly to: string | undefined;
}

/** `nodes`: as they are known by now, which may be not yet. */
export function healthOf(cluster: ClusterView, nodes: readonly NodeView[] | undefined): Health {
  const { repositories, store, defaults } = cluster;
  if (!store.ok || repositories === null) {
    const detail = `${store.engine} does not answer. Pushes are refused until it does; nothing is lost.`;
    return { level: "bad", sentence: "The metadata store does not answer.", detail, to: undefined };
  }
  const downText = downSentence(cluster, nodes);
  if (cluster.nodes.total === 0) {
    const detail = "Start one with gitmesh node; it registers by itself.";
    return { level: "bad", sentence: "There is no repository server yet.", detail, to: "/nodes" };
  }
  if (repositories.behind > 0) {
    const sentence = `${plural(repositories.behind, "repository", "repositories")} lost pushes that the replicas have.`;
    const detail = "The metadata store was restored from a backup? Nothing is served there until gitmesh repo adopt.";
    return { level: "bad", sentence, detail, to: "/repositories?state=degraded" };
  }
  if (repositories.degraded > 0) {
    const some = repositories.degraded === repositories.total && repositories.total > 1 ? "All " : "";
    const verb = repositories.degraded === 1 ? "has" : "have";
    const sentence = `${some}${plural(repositories.degraded, "repository", "repositories")} ${verb} fewer complete replicas than wanted.`;
    return { level: "bad", sentence, detail: downText, to: "/repositories?state=degraded" };
  }
  if (downText !== "") {
    const detail = `Every repository has its complete replicas so far. A replica on a node that stays away for ${Math.round(defaults.repairGraceMs / 60_000)} min is rebuilt elsewhere.`;
    return { level: "warning", sentence: downText, detail, to: "/nodes" };
  }
  if (repositories.total === 0) {
    const detail = `${plural(cluster.nodes.total, "node")} ready to take repositories.`;
    return {
      level: "empty",
      sentence: "The cluster is ready. There are no repositories yet.",
      detail,
      to: "/repositories",
    };
  }
  const { total, wantedLeast: least, wantedMost: most } = repositories;
  const replicas = least === most ? plural(least, "complete replica") : `their ${least} to ${most} complete replicas`;
  const sentence =
    total === 1 ? `The repository has ${replicas}.` : `All ${count(total)} repositories have ${replicas}.`;
  return {
    level: "good",
    sentence,
    detail: `${plural(nodes?.length ?? cluster.nodes.alive, "node")} alive.`,
    to: undefined,
  };
}

/** What the nodes themselves say is newer than the counts of the cluster. */
function downSentence({ nodes: counts }: ClusterView, nodes: readonly NodeView[] | undefined): string {
  if (nodes === undefined) {
    const away = counts.suspect + counts.dead;
    return away === 0 ? "" : `${away} of ${plural(counts.total, "node")} ${away === 1 ? "does" : "do"} not answer.`;
  }
  const down = nodes.filter(({ state }) => state !== "ALIVE");
  const [first] = down;
  if (first === undefined) return "";
  if (down.length === 1) return `${nodeName(first.url)} ${first.state === "DEAD" ? "is dead" : "does not answer"}.`;
  return `${down.length} of ${nodes.length} nodes do not answer.`;
}
