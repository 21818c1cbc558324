/** What the address of the repositories page asks for. Pure. */
import type { LocationQuery } from "vue-router";
import type { RepositorySearch } from "./data/api.ts";

const states = ["", "healthy", "degraded"] as const;
const word = (value: unknown): string => (typeof value === "string" ? value : "");

export function searchOf(query: LocationQuery): RepositorySearch {
  return {
    contains: word(query["q"]),
    state: states.find((state) => state === query["state"]) ?? "",
    sort: word(query["sort"]) || "name",
  };
}
