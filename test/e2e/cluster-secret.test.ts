/** Nodes accept nothing without the cluster secret, and neither do controllers from somebody who says to be a node. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import { callApi } from "../support/api.ts";
import { startServers } from "../support/cluster.ts";
import { waitFor } from "../support/wait.ts";

const cluster = await startServers();
after(() => cluster.stop());

const id = "01890a5d-ac96-774b-bcce-b302099a8057";

test("every route of a node is 401 without the secret, with a wrong one, and in other spellings", async () => {
  await cluster.create("guarded");
  const repository = await cluster.show("guarded");
  const routes = [repository.id, id].flatMap((known) => [
    ["GET", `/node/v1/replicas/${known}`],
    ["PATCH", `/node/v1/replicas/${known}`],
    ["POST", `/node/v1/replicas/${known}/_retire`],
    ["POST", `/node/v1/replicas/${known}/_stage`],
    ["POST", `/node/v1/replicas/${known}/_apply`],
    ["POST", `/node/v1/replicas/${known}/_catch-up`],
    ["GET", `/node/v1/replicas/${known}/git/info/refs?service=git-upload-pack`],
    ["POST", `/node/v1/replicas/${known}/git/git-upload-pack`],
  ]);
  routes.push(["POST", "/node/v1/replicas"]);
  const { secret } = cluster.servers;
  const wrong = [
    "",
    "Bearer ",
    "Bearer wrong-secret-of-a-cluster",
    `Bearer ${secret}x`,
    `Bearer ${secret.slice(0, -1)}`,
    secret,
  ];
  for (const node of cluster.nodeNames()) {
    for (const [method = "", path = ""] of routes) {
      for (const authorization of wrong) {
        const answer = await callApi(cluster.nodeUrl(node) + path, method, method === "GET" ? undefined : {}, {
          authorization,
        });
        assert.equal(answer.status, 401, `${method} ${path} with '${authorization}': ${JSON.stringify(answer.body)}`);
      }
    }
  }
  // With it, the same address answers: the check above is not about a wrong path.
  const known = await callApi(`${cluster.nodeUrl("node-1")}/node/v1/replicas/${repository.id}`, "GET", undefined, {
    authorization: `Bearer ${secret}`,
  });
  assert.equal(known.status, 200);
  await cluster.waitReady("guarded");
});

test("nobody registers as a node, or sends its heartbeats, without the secret", async () => {
  const registration = {
    id,
    url: "http://127.0.0.1:9",
    bootId: "b",
    version: "0",
    diskUsage: 0,
    diskFreeBytes: 1e12,
    inventory: [],
  };
  const heartbeat = { id, bootId: "b", diskUsage: 0, diskFreeBytes: 1e12, sizes: [] };
  for (const authorization of ["", "Bearer wrong-secret-of-a-cluster"]) {
    for (const [path, body] of [
      ["register", registration],
      ["heartbeat", heartbeat],
    ] as const) {
      const answer = await callApi(`${cluster.url}/cluster/v1/${path}`, "POST", body, { authorization });
      assert.equal(answer.status, 401, path);
    }
  }
  assert.equal((await cluster.nodes()).length, 3);
});

test("a node with another secret does not become a member", async () => {
  const refusals = (): number =>
    readFileSync(`${cluster.dataDirectory}/log/node-4.log`, "utf8").split("secret").length - 1;
  cluster.servers.start("node-4", { GITMESH_SECRET: "another-secret-of-another-cluster" });
  await waitFor(() => refusals() > 0, { what: "node-4 to say that its secret is refused" });
  assert.ok(!(await cluster.nodes()).some(({ url }) => url === cluster.nodeUrl("node-4")));
  assert.equal((await fetch(`${cluster.nodeUrl("node-4")}/readyz`)).status, 503);
});

test("the secret is in no answer and no log", async () => {
  const { secret } = cluster.servers;
  for (const path of ["/api/cluster", "/api/nodes", "/api/repos", "/api/openapi.json", "/healthz", "/readyz"]) {
    const answer = await cluster.api("GET", path);
    assert.ok(!JSON.stringify(answer.body).includes(secret), path);
  }
  for (const server of ["controller-1", "node-1", "node-2", "node-3"]) {
    assert.ok(cluster.log(server).length > 0);
    assert.ok(!cluster.log(server).includes(secret), server);
  }
});
