/** Keeps the pages up to date: listens to the event stream and has what an event is about fetched again. */
import type { InfiniteData, QueryClient } from "@tanstack/vue-query";
import type { StreamMessages } from "../../../src/protocol/activity-api.ts";
import type { NodeView, RepositoryPage, RepositorySearch } from "./api.ts";
import { EventConnection, type Browser, type MessageHandlers } from "./event-connection.ts";
import { Refetching } from "./refetching.ts";

/** Until what is returned is called. */
export function startLive(queries: QueryClient, browser: Browser = thisBrowser): () => void {
  const refetching = new Refetching(queries, browser);
  const connection = new EventConnection(handlersOf(queries, refetching), browser);
  connection.start();
  return () => {
    connection.stop();
    refetching.stop();
  };
}

function handlersOf(queries: QueryClient, refetching: Refetching): MessageHandlers {
  const rowChanged = (repository: string): void => {
    if (isShown(queries, repository)) refetching.ask("repositories");
    // What is not on the page is read when it is shown again.
    else void queries.invalidateQueries({ queryKey: ["repositories"], type: "inactive", refetchType: "none" });
  };
  return {
    hello: () => {},
    // What the pages read on their own start, moments ago, may be from before it.
    cursor: () => refetching.everything(),
    resumed: () => refetching.everything(),
    reset: () => refetching.everything(),
    change: ({ kind, repository }) => {
      refetching.ask("cluster", "events", "nodes", "node", "node-replicas", "repository", "repair");
      if (kind.startsWith("repository-")) refetching.ask("repositories");
      else if (kind.startsWith("node-")) refetching.ask("repositories");
      else if (repository !== "") rowChanged(repository);
    },
    push: ({ repository }) => {
      rowChanged(repository);
      if (isOpen(queries, repository)) refetching.ask("repository", "refs", "pushes");
    },
    nodes: (states) => {
      queries.setQueryData<NodeView[]>(["nodes"], (known) => known?.map((node) => withState(node, states)));
      for (const { id } of states) {
        queries.setQueryData<NodeView>(["node", id], (node) => node && withState(node, states));
      }
      const known = queries.getQueryData<NodeView[]>(["nodes"]);
      if (known !== undefined && known.length !== states.length) refetching.ask("nodes");
    },
    samples: () => refetching.ask("metrics", "node-metrics"),
    work: (work) => {
      queries.setQueryData(["work"], work);
    },
  };
}

function withState(node: NodeView, states: StreamMessages["nodes"]): NodeView {
  const found = states.find(({ id }) => id === node.id);
  if (found === undefined) return node;
  const { state, timestamp, silentMs, diskUsage, load } = found;
  return { ...node, state, timestamp, silentMs, diskUsage, load };
}

/** Whether a list on the page has this repository, or may have it in another place now. */
function isShown(queries: QueryClient, name: string): boolean {
  return queries
    .getQueryCache()
    .findAll({ queryKey: ["repositories"], type: "active" })
    .some(({ queryKey, state: { data } }) => {
      const { state, sort } = queryKey[1] as RepositorySearch;
      if (state !== "" || sort.endsWith("pushed") || data === undefined) return true;
      const { pages } = data as InfiniteData<RepositoryPage>;
      return pages.some(({ items }) => items.some((item) => item.name === name));
    });
}

/** Whether its own page was open: what was read of it is old now. */
function isOpen(queries: QueryClient, name: string): boolean {
  return ["repository", "refs", "pushes"].some(
    (subject) => queries.getQueryCache().findAll({ queryKey: [subject, name] }).length > 0,
  );
}

const thisBrowser: Browser = {
  nowMs: () => performance.now(),
  timer: (ms, act) => {
    const id = window.setTimeout(act, ms);
    return () => window.clearTimeout(id);
  },
  openStream: (url) => new EventSource(url),
  isHidden: () => document.hidden,
  on: (what, act) => {
    const [target, name] = what === "online" ? [window, "online"] : [document, "visibilitychange"];
    target.addEventListener(name, act);
    return () => target.removeEventListener(name, act);
  },
};
