/** No spelling of a path reaches a file: sent by hand, since a client library would tidy them. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { startCluster } from "../support/cluster.ts";
import { rawHttp } from "../support/raw-http.ts";

const cluster = await startCluster({ nodes: 1, replicas: 1 });
after(() => cluster.stop());

const secretText = "text that no answer may have";
const spellings = [
  "..",
  "../..",
  "../../../../../../etc/passwd",
  "%2e%2e",
  "%2e%2e%2f%2e%2e",
  "..%2f..%2f",
  "..%5c..%5c",
  "%252e%252e%252f",
  "a/../../b",
  "a/%2e%2e/%2e%2e/b",
  "a/./b",
  "a%00b",
  "a%0d%0ab",
  "%c0%ae%c0%ae/",
  "%uff0e%uff0e/",
  "....//....//",
  "/etc/passwd",
  "//etc/passwd",
  "a\\..\\b",
  "a%2fb",
  "~root",
  "a%",
  "a%zz",
  "HEAD",
  "plant.txt",
  "data/plant.txt",
];

test("traversal in every encoding is refused by the API and by the git endpoints", async () => {
  await cluster.create("plain");
  writeFileSync(join(cluster.dataDirectory, "plant.txt"), secretText);
  writeFileSync(join(cluster.dataDirectory, "node-1", "plant.txt"), secretText);
  for (const spelling of spellings) {
    for (const request of [
      `GET /api/repos/${spelling}`,
      `POST /api/repos/${spelling}/x.git`,
      `DELETE /api/repos/${spelling}`,
      `GET /git/${spelling}/info/refs?service=git-upload-pack`,
      `GET /git/${spelling}.git/info/refs?service=git-receive-pack`,
      `GET /git/plain.git/${spelling}`,
      `GET /git/plain.git/objects/${spelling}`,
      `POST /git/${spelling}/git-upload-pack`,
      `GET /${spelling}`,
    ]) {
      const answer = await rawHttp(
        cluster.url,
        `${request} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`,
      );
      const what = `${request}: ${answer.status} ${answer.body}`;
      assert.ok([400, 404, 405].includes(answer.status), what);
      assert.ok(!answer.body.includes(secretText) && !answer.body.includes("root:"), what);
    }
  }
  assert.equal((await cluster.api("GET", "/api/repos")).status, 200);
  assert.deepEqual(
    ((await cluster.api("GET", "/api/repos")).body as { name: string }[]).map(({ name }) => name),
    ["plain"],
  );
});

test("the dumb protocol's files are not served", async () => {
  const terminal = cluster.terminal();
  await terminal.ok("git init -q w && cd w && git commit -q --allow-empty -m x && git push -q $GIT/plain.git master");
  for (const path of [
    "HEAD",
    "config",
    "objects/info/packs",
    "info/refs",
    "refs/heads/master",
    "gitmesh.json",
    "description",
  ]) {
    const answer = await fetch(`${cluster.url}/git/plain.git/${path}`);
    const body = await answer.text();
    assert.ok(answer.status >= 400 && answer.status < 500, `${path}: ${answer.status} ${body}`);
  }
  for (const service of ["git-upload-archive", "upload-pack", "", "git-upload-pack%00"]) {
    const answer = await fetch(`${cluster.url}/git/plain.git/info/refs?service=${service}`);
    await answer.text();
    assert.ok(answer.status >= 400 && answer.status < 500, `${service}: ${answer.status}`);
  }
});
