/** What the pages ask for, by name. A key's first word is what live.ts invalidates by. */
import { infiniteQueryOptions, keepPreviousData, useInfiniteQuery, useQuery } from "@tanstack/vue-query";
import { computed, toValue, type MaybeRefOrGetter } from "vue";
import { api, type RepositoryPage, type RepositorySearch } from "./api.ts";
import { connection } from "./connection.ts";
import { queryClient } from "./query-client.ts";

/** Only while no events arrive. */
const pollMs = 5000;
const metricsMs = 10_000;
const pageRows = 100;
/** Few, so that the first ones are there soon. */
const repositoryRows = 50;
export const eventRows = 50;

const polling = computed(() => (connection.value === "live" ? false : pollMs));
const pollingCharts = computed(() => (connection.value === "live" ? false : metricsMs));

export function useCluster() {
  return useQuery({ queryKey: ["cluster"], queryFn: api.cluster, refetchInterval: polling });
}

export function useMetrics() {
  return useQuery({ queryKey: ["metrics"], queryFn: api.metrics, refetchInterval: pollingCharts });
}

export function useNodes() {
  return useQuery({ queryKey: ["nodes"], queryFn: api.nodes, refetchInterval: polling });
}

export function useNode(id: MaybeRefOrGetter<string>) {
  return useQuery({
    queryKey: computed(() => ["node", toValue(id)]),
    queryFn: () => api.node(toValue(id)),
    refetchInterval: polling,
  });
}

export function useNodeMetrics(id: MaybeRefOrGetter<string>) {
  return useQuery({
    queryKey: computed(() => ["node-metrics", toValue(id)]),
    queryFn: () => api.nodeMetrics(toValue(id)),
    refetchInterval: pollingCharts,
  });
}

export function useNodeReplicas(id: MaybeRefOrGetter<string>) {
  return useInfiniteQuery({
    queryKey: computed(() => ["node-replicas", toValue(id)]),
    queryFn: ({ pageParam }) => api.nodeReplicas(toValue(id), pageParam, pageRows),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => (page.length < pageRows ? undefined : page.at(-1)?.name),
    refetchInterval: polling,
  });
}

function repositoriesQuery(search: RepositorySearch) {
  return infiniteQueryOptions({
    queryKey: ["repositories", search],
    queryFn: ({ pageParam }) => api.repositories(search, pageParam, repositoryRows),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page: RepositoryPage) => page.next,
  });
}

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
    queryFn: () => api.repository(toValue(name)),
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
    queryFn: ({ pageParam }) => api.refs(toValue(name), toValue(kind), toValue(contains), pageParam),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next ?? undefined,
    placeholderData: keepPreviousData,
    refetchInterval: polling,
  });
}

export function usePushes(name: MaybeRefOrGetter<string>) {
  return useQuery({
    queryKey: computed(() => ["pushes", toValue(name)]),
    queryFn: () => api.pushes(toValue(name)),
    refetchInterval: polling,
  });
}

export function useWork() {
  return useQuery({ queryKey: ["work"], queryFn: api.work, refetchInterval: polling });
}

export function useRepair() {
  return useQuery({ queryKey: ["repair"], queryFn: api.repair, refetchInterval: polling });
}

export function useEvents(filter: MaybeRefOrGetter<Readonly<Record<string, string | undefined>>>, rows = eventRows) {
  return useInfiniteQuery({
    queryKey: computed(() => ["events", toValue(filter), rows]),
    queryFn: ({ pageParam }) => api.events(toValue(filter), pageParam, rows),
    initialPageParam: undefined as number | undefined,
    getNextPageParam: (page) => (page.length < rows ? undefined : page.at(-1)?.id),
    placeholderData: keepPreviousData,
    refetchInterval: polling,
  });
}
