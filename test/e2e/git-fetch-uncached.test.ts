/** Everything that a person fetches, each time made anew. */
process.env["GITMESH_FETCH_CACHE_BYTES"] = "0";
await import("./git-fetch.test.ts");
