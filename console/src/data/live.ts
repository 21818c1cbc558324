/**
 * Keeps the pages up to date: listens to the event stream and has what an event is about fetched again. Many events at
 * once are one fetch.
 */
import type { InfiniteData, QueryClient } from "@tanstack/vue-query";
import type { StreamMessages } from "../../../src/protocol/activity-api.ts";
import { api, type NodeView, type RepositoryPage, type RepositoryView } from "./api.ts";
import { connection, heals } from "./connection.ts";

const streamPath = "/api/events/stream";
/** Events of this time are answered together. */
const gatherMs = 300;
/** A break that is over by then is nobody's business. */
const graceMs = 1500;
/** No message for longer than the server's pause between two: the connection is dead and nobody said so. */
const silentMs = 15_000;
const retryMs = 1000;
const startMs = 1500;
/** Lists this long are not fetched again as a whole for one row. */
const pagesWholeMax = 2;
const rowsMax = 10;

type Pages = InfiniteData<RepositoryPage, string | undefined>;

export function startLive(queryClient: QueryClient): () => void {
  const subjects = new Set<string>();
  const rows = new Set<string>();
  let gathering: number | undefined;
  let source: EventSource | undefined;
  let graceTimer: number | undefined;
  let silenceTimer: number | undefined;
  let retryTimer: number | undefined;
  let startTimer: number | undefined;
  let lastId = "";
  let wasLive = false;

  const gather = (...names: readonly string[]): void => {
    for (const name of names) subjects.add(name);
    gathering ??= window.setTimeout(() => {
      gathering = undefined;
      void answer();
    }, gatherMs);
  };

  async function answer(): Promise<void> {
    const names = new Set(subjects);
    const changed = [...rows];
    subjects.clear();
    rows.clear();
    if (changed.length > rowsMax) names.add("repositories");
    else if (changed.length > 0 && !names.has("repositories")) await refreshRows(queryClient, changed);
    await queryClient.invalidateQueries({ predicate: ({ queryKey }) => names.has(String(queryKey[0])) });
  }

  function everything(): void {
    void queryClient.invalidateQueries();
  }

  const handlers: { [E in keyof StreamMessages]: (data: StreamMessages[E]) => void } = {
    hello: () => {
      window.clearTimeout(graceTimer);
      graceTimer = undefined;
      if (connection.value === "lost") heals.value += 1;
      connection.value = "live";
      wasLive = true;
    },
    // What the pages read on their own start, moments ago, may be from before it; the first rows come first.
    cursor: () => {
      startTimer = window.setTimeout(everything, startMs);
    },
    resumed: () => everything(),
    reset: () => everything(),
    change: ({ kind, repository }) => {
      if (kind.startsWith("node-"))
        gather("nodes", "node", "cluster", "repair", "events", "repository", "node-replicas");
      else gather("cluster", "events", "repository", "nodes", "node", "node-replicas", "repair");
      if (kind.startsWith("repository-")) gather("repositories");
      else if (repository !== "") rows.add(repository);
    },
    push: ({ repository }) => {
      rows.add(repository);
      gather("repository", "refs", "pushes");
    },
    nodes: (states) => {
      queryClient.setQueryData<NodeView[]>(["nodes"], (known) => known?.map((node) => withState(node, states)));
      for (const { id } of states) {
        queryClient.setQueryData<NodeView>(["node", id], (node) => node && withState(node, states));
      }
      const known = queryClient.getQueryData<NodeView[]>(["nodes"]);
      if (known !== undefined && known.length !== states.length) gather("nodes");
    },
    samples: () => gather("metrics", "node-metrics"),
    work: (work) => {
      queryClient.setQueryData(["work"], work);
      gather("repair");
    },
  };

  function open(): void {
    window.clearTimeout(retryTimer);
    source?.close();
    // A new connection after one that the browser gave up on goes on where that one was.
    source = new EventSource(lastId === "" ? streamPath : `${streamPath}?lastEventId=${lastId}`);
    for (const name of Object.keys(handlers) as (keyof StreamMessages)[]) {
      source.addEventListener(name, (event: MessageEvent<string>) => {
        heard();
        if (event.lastEventId !== "") lastId = event.lastEventId;
        (handlers[name] as (data: unknown) => void)(JSON.parse(event.data));
      });
    }
    source.addEventListener("error", () => {
      missed();
      // The browser itself tries again after a broken connection, but not after an answer that is an error.
      if (source?.readyState === EventSource.CLOSED) retryTimer = window.setTimeout(open, retryMs);
    });
    heard();
  }

  function heard(): void {
    window.clearTimeout(silenceTimer);
    silenceTimer = window.setTimeout(() => {
      missed();
      open();
    }, silentMs);
  }

  function missed(): void {
    if (connection.value === "lost") return;
    connection.value = "connecting";
    graceTimer ??= window.setTimeout(
      () => {
        graceTimer = undefined;
        connection.value = "lost";
      },
      wasLive ? graceMs : 2 * graceMs,
    );
  }

  const online = (): void => open();
  window.addEventListener("online", online);
  open();
  return () => {
    window.removeEventListener("online", online);
    for (const timer of [gathering, graceTimer, silenceTimer, retryTimer, startTimer]) window.clearTimeout(timer);
    source?.close();
  };
}

function withState(node: NodeView, states: StreamMessages["nodes"]): NodeView {
  const found = states.find(({ id }) => id === node.id);
  if (found === undefined) return node;
  const { state, timestamp, silentMs: silent, diskUsage, load } = found;
  return { ...node, state, timestamp, silentMs: silent, diskUsage, load };
}

/** Puts single repositories into the lists that are shown; short lists are fetched again, since their order may change. */
async function refreshRows(queryClient: QueryClient, names: readonly string[]): Promise<void> {
  const lists = queryClient.getQueryCache().findAll({ queryKey: ["repositories"], type: "active" });
  const long = lists.filter((query) => ((query.state.data as Pages | undefined)?.pages.length ?? 0) > pagesWholeMax);
  if (long.length < lists.length || long.length === 0) {
    await queryClient.invalidateQueries({ queryKey: ["repositories"] });
    return;
  }
  const found = new Map<string, RepositoryView>();
  await Promise.all(
    names.map(async (name) => {
      const repository = await api.repository(name).catch(() => undefined);
      if (repository !== undefined) found.set(name, repository);
    }),
  );
  for (const query of long) {
    queryClient.setQueryData<Pages>(query.queryKey, (data) =>
      data === undefined
        ? data
        : {
            ...data,
            pages: data.pages.map((page) => ({
              ...page,
              items: page.items.map((item) => found.get(item.name) ?? item),
            })),
          },
    );
  }
}
