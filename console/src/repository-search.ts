/** What the address of the repositories page asks for. Pure. */
import type { LocationQuery } from "vue-router";
import { word } from "./address.ts";
import type { RepositorySearch } from "./data/api.ts";

const states = ["", "healthy", "degraded"] as const;

export function searchOf(query: LocationQuery): RepositorySearch {
  return {
    contains: word(query["q"]),
    state: states.find((state) => state === query["state"]) ?? "",
    sort: word(query["sort"]) || "name",
  };
}
