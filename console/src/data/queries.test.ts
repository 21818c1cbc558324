/** The pages of the long list: how many there are, in both directions, and what is asked for. The network is made up. */
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { InfiniteQueryObserver, QueryClient } from "@tanstack/vue-query";
import { repositoriesQuery, repositoryRows, type Place } from "./queries.ts";

const network = globalThis.fetch;
afterEach(() => {
  globalThis.fetch = network;
});
const total = 1000;

/** Repositories named by their number; a cursor is the number of the first one of its page. */
function listOf(asked: URLSearchParams[]): typeof fetch {
  return async (path) => {
    const { searchParams } = new URL(path as string, "http://console");
    asked.push(searchParams);
    const start = Number(searchParams.get("cursor") ?? 0);
    const items = Array.from({ length: Math.min(repositoryRows, total - start) }, (_value, at) => ({
      name: start + at,
    }));
    const headers = new Headers();
    const end = start + items.length;
    if (end < total) headers.set("link", `</api/repos?cursor=${end}&limit=50>; rel="next"`);
    if (searchParams.get("count") === "true") headers.set("x-total-count", String(total));
    return new Response(JSON.stringify(items), { headers });
  };
}

test("of a long list four pages are kept, and the way back is known", async () => {
  const asked: URLSearchParams[] = [];
  globalThis.fetch = listOf(asked);
  const queries = new QueryClient();
  const observer = new InfiniteQueryObserver(queries, repositoriesQuery({ contains: "", state: "", sort: "name" }));
  const stop = observer.subscribe(() => {});
  const shown = (): { first: number; names: unknown[] } => {
    const { data } = observer.getCurrentResult();
    const place = data?.pageParams[0] as Place;
    return {
      first: place.index * repositoryRows,
      names: data?.pages.flatMap(({ items }) => items.map(({ name }) => name)) ?? [],
    };
  };
  await observer.refetch({ cancelRefetch: false });
  assert.equal(observer.getCurrentResult().data?.pages[0]?.total, total);
  for (let page = 1; page < 12; page += 1) await observer.fetchNextPage({ cancelRefetch: false });
  assert.deepEqual([shown().first, shown().names.length, shown().names[0], shown().names.at(-1)], [400, 200, 400, 599]);
  assert.deepEqual(
    asked.map((query) => query.get("count")).filter((count) => count !== null),
    ["true"],
    "counted once",
  );
  asked.length = 0;
  await queries.invalidateQueries({ queryKey: ["repositories"] }, { cancelRefetch: false });
  assert.deepEqual(
    asked.map((query) => query.get("cursor")),
    ["400", "450", "500", "550"],
    "only what is kept",
  );
  for (let page = 7; page >= 0; page -= 1) await observer.fetchPreviousPage({ cancelRefetch: false });
  assert.deepEqual([shown().first, shown().names[0], shown().names.at(-1)], [0, 0, 199]);
  assert.deepEqual(
    [observer.getCurrentResult().hasPreviousPage, observer.getCurrentResult().hasNextPage],
    [false, true],
  );
  stop();
});
