/** Which servers `gitmesh up` would start. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError } from "../base/config.ts";
import { parseClusterOptions, planServers } from "./cluster-plan.ts";

const defaults = { controllers: "1", nodes: "3", data: "./data", portBase: "8080" };
const mysql = "mysql://u:p@db/gitmesh";

test("the default cluster", () => {
  const options = parseClusterOptions(defaults, {});
  assert.deepEqual(options, { ...options, controllers: 1, nodes: 3, replicas: 3, portBase: 8080, database: undefined });
  const plans = planServers(options, "/srv/data", "the secret");
  assert.deepEqual(
    plans.map(({ name, port }) => `${name} ${port}`),
    ["controller-1 8081", "node-1 8082", "node-2 8083", "node-3 8084", "console 8080"],
  );
  assert.deepEqual(plans[0]?.environment, {
    GITMESH_LISTEN: "127.0.0.1:8081",
    GITMESH_SECRET: "the secret",
    GITMESH_DATABASE: "sqlite:/srv/data/gitmesh.sqlite",
    GITMESH_REPLICAS: "3",
  });
  assert.equal(plans[2]?.environment["GITMESH_DIRECTORY"], "/srv/data/node-2");
  assert.equal(plans[4]?.environment["GITMESH_SECRET"], undefined, "the console needs no secret");
});

test("replicas: as many as there are nodes, at most three, unless asked for", () => {
  const replicas = (nodes: string, environment = {}): number =>
    parseClusterOptions({ ...defaults, nodes }, environment).replicas;
  assert.equal(replicas("1"), 1);
  assert.equal(replicas("2"), 2);
  assert.equal(replicas("7"), 3);
  assert.equal(replicas("7", { GITMESH_REPLICAS: "5" }), 5);
});

test("two controllers on one database, which every node knows", () => {
  const options = parseClusterOptions({ ...defaults, controllers: "2" }, { GITMESH_DATABASE: mysql });
  const plans = planServers(options, "/d", "s");
  const node = plans.find(({ name }) => name === "node-1");
  assert.equal(node?.port, 8083);
  assert.equal(node.environment["GITMESH_CONTROLLERS"], "http://127.0.0.1:8081,http://127.0.0.1:8082");
  assert.equal(plans[1]?.environment["GITMESH_DATABASE"], mysql);
});

test("mistakes, all at once", () => {
  const cases: readonly [Record<string, string>, readonly string[]][] = [
    [{ controllers: "0", nodes: "x", portBase: "70000" }, ["--controllers", "--nodes", "--port-base"]],
    [{ controllers: "2" }, ["--controllers"]],
    [{ controllers: "2", database: "sqlite:/x" }, ["--controllers"]],
    [{ database: "oracle://x", replicas: "0" }, ["--database", "--replicas"]],
    [{ nodes: "2", replicas: "3" }, ["--replicas"]],
    [{ portBase: "65532" }, ["--port-base"]],
    [{ data: "" }, ["--data"]],
  ];
  for (const [flags, expected] of cases) {
    assert.throws(
      () => parseClusterOptions({ ...defaults, ...flags }, {}),
      (error) => {
        assert.ok(error instanceof ConfigError);
        assert.deepEqual(
          error.mistakes.map((mistake) => mistake.split(":")[0] ?? ""),
          expected,
        );
        return true;
      },
    );
  }
});
