/** What the pages ask for, by name. A key's first word is what refetching.ts goes by. */
import { keepPreviousData, useInfiniteQuery, useQuery, type QueryFunctionContext } from "@tanstack/vue-query";
import { computed, toValue, type MaybeRefOrGetter } from "vue";
import { api, type RepositoryPage, type RepositorySearch } from "./api.ts";
import { connection } from "./connection.ts";
import { queryClient } from "./query-client.ts";

/** Only while no events arrive. */
const pollMs = 5000;
const metricsMs = 10_000;
/** Verification has no events of its own, and the answer is dear. */
const repairMs = 10_000;
const copiesMs = 60_000;
const pageRows = 100;
/** All pages of a list are read again when something changed: who asks for more gets large ones, so that they are few. */
const moreRows = 500;
const moreRefs = 200;
/** Few, so that the first ones are there soon. */
export const repositoryRows = 50;
export const eventRows = 50;
/** Of one list; each of them is fetched again when something changed. */
const pagesMax = 4;

const polling = computed(() => (connection.value === "live" ? false : pollMs));
const pollingCharts = computed(() => (connection.value === "live" ? false : metricsMs));

export function useCluster() {
  return useQuery({ queryKey: ["cluster"], queryFn: ({ signal }) => api.cluster(signal), refetchInterval: polling });
}

export function useMetrics() {
  return useQuery({
    queryKey: ["metrics"],
    queryFn: ({ signal }) => api.metrics(signal),
    refetchInterval: pollingCharts,
  });
}

export function useNodes() {
  return useQuery({ queryKey: ["nodes"], queryFn: ({ signal }) => api.nodes(signal), refetchInterval: polling });
}

export function useNode(id: MaybeRefOrGetter<string>) {
  return useQuery({
    queryKey: computed(() => ["node", toValue(id)]),
    queryFn: ({ signal }) => api.node(toValue(id), signal),
    refetchInterval: polling,
  });
}

export function useNodeMetrics(id: MaybeRefOrGetter<string>) {
  return useQuery({
    queryKey: computed(() => ["node-metrics", toValue(id)]),
    queryFn: ({ signal }) => api.nodeMetrics(toValue(id), signal),
    refetchInterval: pollingCharts,
  });
}

export function useNodeReplicas(id: MaybeRefOrGetter<string>) {
  return useInfiniteQuery({
    queryKey: computed(() => ["node-replicas", toValue(id)]),
    queryFn: ({ pageParam, signal }) =>
      api.nodeReplicas(toValue(id), pageParam, pageParam === undefined ? pageRows : moreRows, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page, pages) =>
      page.length < (pages.length === 1 ? pageRows : moreRows) ? undefined : page.at(-1)?.name,
    refetchInterval: polling,
  });
}

/** A page of a list: its number, and the cursors of all pages up to it, for the way back. */
export interface Place {
  readonly index: number;
  readonly cursors: readonly (string | undefined)[];
}

type RepositoriesKey = readonly ["repositories", RepositorySearch];

/** Few pages are kept: each of them is read again when something changed. */
export function repositoriesQuery(search: RepositorySearch) {
  return {
    queryKey: ["repositories", search] as const,
    queryFn: ({ pageParam: { index, cursors }, signal }: QueryFunctionContext<RepositoriesKey, Place>) =>
      api.repositories(search, { cursor: cursors[index], limit: repositoryRows, count: index === 0 }, signal),
    initialPageParam: { index: 0, cursors: [undefined] } as Place,
    getNextPageParam: ({ next }: RepositoryPage, _pages: unknown, { index, cursors }: Place): Place | undefined =>
      next === undefined ? undefined : { index: index + 1, cursors: [...cursors.slice(0, index + 1), next] },
    getPreviousPageParam: (_page: unknown, _pages: unknown, { index, cursors }: Place): Place | undefined =>
      index === 0 ? undefined : { index: index - 1, cursors },
    maxPages: pagesMax,
  };
}

/** Only some pages around those that are looked at; `pageParams` says which. */
export function useRepositories(search: MaybeRefOrGetter<RepositorySearch>) {
  return useInfiniteQuery(
    computed(() => ({
      ...repositoriesQuery(toValue(search)),
      placeholderData: keepPreviousData,
      refetchInterval: polling.value,
    })),
  );
}

/** Asked for while the page's own code is still on its way. */
export function prefetchRepositories(search: RepositorySearch): void {
  void queryClient.prefetchInfiniteQuery(repositoriesQuery(search));
}

export function useRepository(name: MaybeRefOrGetter<string>) {
  return useQuery({
    queryKey: computed(() => ["repository", toValue(name)]),
    queryFn: ({ signal }) => api.repository(toValue(name), signal),
    refetchInterval: polling,
  });
}

export function useRefs(
  name: MaybeRefOrGetter<string>,
  kind: MaybeRefOrGetter<"branches" | "tags">,
  contains: MaybeRefOrGetter<string>,
) {
  return useInfiniteQuery({
    queryKey: computed(() => ["refs", toValue(name), toValue(kind), toValue(contains)]),
    queryFn: ({ pageParam: cursor, signal }) =>
      api.refs(
        toValue(name),
        { kind: toValue(kind), contains: toValue(contains), cursor, limit: cursor === undefined ? 25 : moreRefs },
        signal,
      ),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next ?? undefined,
    placeholderData: keepPreviousData,
    refetchInterval: polling,
  });
}

export function usePushes(name: MaybeRefOrGetter<string>) {
  return useQuery({
    queryKey: computed(() => ["pushes", toValue(name)]),
    queryFn: ({ signal }) => api.pushes(toValue(name), signal),
    refetchInterval: polling,
  });
}

export function useWork() {
  return useQuery({ queryKey: ["work"], queryFn: ({ signal }) => api.work(signal), refetchInterval: polling });
}

export function useRepair() {
  return useQuery({ queryKey: ["repair"], queryFn: ({ signal }) => api.repair(signal), refetchInterval: repairMs });
}

export function useCopies() {
  return useQuery({
    queryKey: ["copies"],
    queryFn: ({ signal }) => api.copies(signal),
    staleTime: copiesMs,
    refetchInterval: copiesMs,
  });
}

export function useEvents(filter: MaybeRefOrGetter<Readonly<Record<string, string | undefined>>>, rows = eventRows) {
  return useInfiniteQuery({
    queryKey: computed(() => ["events", toValue(filter), rows]),
    queryFn: ({ pageParam, signal }) =>
      api.events(toValue(filter), pageParam, pageParam === undefined ? rows : moreRows, signal),
    initialPageParam: undefined as number | undefined,
    getNextPageParam: (page, pages) =>
      page.length < (pages.length === 1 ? rows : moreRows) ? undefined : page.at(-1)?.id,
    placeholderData: keepPreviousData,
    refetchInterval: polling,
  });
}
