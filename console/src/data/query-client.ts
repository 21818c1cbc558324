/** Fetching, as all pages do it: shown at once from what is known, fetched again when something changed (live.ts). */
import { QueryClient } from "@tanstack/vue-query";
import { ApiError } from "./api.ts";

const retriesMax = 2;
const freshMs = 5000;

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      // Answers are replaced, never changed: what is in them need not be watched.
      shallow: true,
      staleTime: freshMs,
      refetchOnWindowFocus: true,
      // What the caller did wrong stays wrong.
      retry: (failures, error) =>
        failures < retriesMax && !(error instanceof ApiError && error.status >= 400 && error.status < 500),
      retryDelay: (attempt) => 300 * 2 ** attempt,
      // The console's server may be on this very machine, without any network.
      networkMode: "always",
    },
    mutations: { networkMode: "always" },
  },
});
