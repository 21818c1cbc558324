/** Everything that a person fetches, with a cache that only small answers fit in. */
process.env["GITMESH_FETCH_CACHE_BYTES"] = "20000";
await import("./git-fetch.test.ts");
