/** The query of the page's address: what a list is filtered by, so that it can be linked to and reloaded. */
import type { LocationQueryValue } from "vue-router";
import { useRoute, useRouter } from "vue-router";

/** One value as text; "" when it is not there. */
export function word(value: LocationQueryValue | LocationQueryValue[] | undefined): string {
  return typeof value === "string" ? value : "";
}

/** Sets some values of the query; "" takes one away. */
export function useSetQuery(): (changes: Readonly<Record<string, string>>) => void {
  const route = useRoute();
  const router = useRouter();
  return (changes) => {
    const query = Object.fromEntries(
      Object.entries({ ...route.query, ...changes }).filter(([, value]) => value !== ""),
    );
    void router.replace({ query });
  };
}
