/** A thousand bad requests, many at a time: nothing is left of them, and the servers stay as they were. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { badPacks, malformedLists } from "../support/bad-pushes.ts";
import { startCluster } from "../support/cluster.ts";
import { refsOfRemote } from "../support/git.ts";
import { pushBody } from "../support/pkt-line.ts";
import { openFiles, residentBytes } from "../support/processes.ts";
import { rawConnect, rawHttp, rawPost } from "../support/raw-http.ts";
import { assertNothingRuns, assertUnharmed } from "../support/unharmed.ts";

const cluster = await startCluster({ env: { GITMESH_REQUEST_IDLE_MS: "5000" } });
after(() => cluster.stop());

const requests = 1000;
const atOnce = 12;
const growthBytesMax = 120 * 1024 * 1024;
const moreFilesMax = 20;
const path = "/git/flood.git";

test(
  "a thousand bad requests leave no process, quarantine, temporary file, open file or memory",
  { timeout: 600_000 },
  async () => {
    const terminal = cluster.terminal();
    await cluster.create("flood");
    await terminal.ok(
      "git init -q work && cd work && seq 1 5000 > f && git add . && git commit -q -m one && git push -q $GIT/flood.git master",
    );
    await terminal.ok("cd work && seq 1 9000 > f && git commit -q -a -m two && git rev-parse HEAD > ../oid");
    await terminal.ok("cd work && git rev-parse HEAD | git pack-objects -q --revs --stdout > ../pack");
    const refs = await refsOfRemote(terminal, cluster.repo("flood"));
    const oid = await terminal.ok("cat oid");
    const pack = readFileSync(join(terminal.directory, "pack"));

    const pushType = { "Content-Type": "application/x-git-receive-pack-request" };
    const fetchType = { "Content-Type": "application/x-git-upload-pack-request" };
    const json = { "Content-Type": "application/json" };
    const bodies: Uint8Array[] = [
      ...malformedLists(oid).map(({ body }) => Buffer.concat([body, pack])),
      ...badPacks(oid, pack).map(({ body }) => body),
      pushBody([{ new: oid, ref: "refs/heads/a..b" }], pack),
      pushBody([{ new: oid, ref: "refs/heads/master/below" }], pack),
    ];
    const good = rawPost(`${path}/git-receive-pack`, pushBody([{ new: oid, ref: "refs/heads/never" }], pack), pushType);
    const bad: Buffer[] = [
      ...bodies.map((body) => rawPost(`${path}/git-receive-pack`, body, pushType)),
      rawPost(`${path}/git-receive-pack`, "0000", { ...pushType, "Content-Encoding": "gzip" }),
      rawPost(`${path}/git-upload-pack`, "zzzz", fetchType),
      rawPost(
        `${path}/git-upload-pack`,
        "0032want 1234567890123456789012345678901234567890\n00000009done\n",
        fetchType,
      ),
      rawPost("/git/nowhere.git/git-upload-pack", "0000", fetchType),
      rawPost("/api/repos/flood-bad", "{", json),
      rawPost("/api/repos/flood-bad", '{"replicas": []}', json),
      rawPost("/api/repos/..%2f..%2fx", "", json),
      Buffer.from("GET /api/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
      Buffer.from("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
      Buffer.from("nonsense\r\n\r\n"),
    ];

    const one = async (index: number): Promise<void> => {
      // Every fourth is a push that would be taken, from a client that leaves half-way: never after its last byte.
      if (index % 4 === 0) {
        const socket = await rawConnect(cluster.url);
        await new Promise((resolve) =>
          socket.write(good.subarray(0, 1 + ((index * 7919) % (good.length - 1))), resolve),
        );
        socket.destroy();
        return;
      }
      const answer = await rawHttp(cluster.url, bad[index % bad.length] ?? Buffer.alloc(0), 60_000);
      assert.ok(answer.status !== 500 && answer.status !== 201, `${index}: ${answer.status} ${answer.body}`);
    };
    const flood = async (from: number, count: number): Promise<void> => {
      let next = from;
      await Promise.all(
        Array.from({ length: atOnce }, async () => {
          while (next < from + count) await one(next++);
        }),
      );
      await assertNothingRuns(cluster);
    };

    const servers = ["controller-1", ...cluster.nodeNames()];
    // The first requests load code and fill pools.
    await flood(0, 100);
    const pids = servers.map((server) => cluster.pid(server));
    const before = pids.map((pid) => ({ bytes: residentBytes(pid), files: openFiles(pid) }));
    await flood(100, requests);
    for (const [index, server] of servers.entries()) {
      const pid = cluster.pid(server);
      assert.equal(pid, pids[index], `${server} died`);
      const grown = residentBytes(pid) - (before[index]?.bytes ?? 0);
      assert.ok(grown < growthBytesMax, `${server} grew by ${Math.round(grown / 1e6)} MB`);
      const files = openFiles(pid) - (before[index]?.files ?? 0);
      assert.ok(files < moreFilesMax, `${server} has ${files} more open files`);
    }
    await assertUnharmed(cluster, "flood", refs);
    await terminal.ok("cd work && git push -q $GIT/flood.git master && git clone -q $GIT/flood.git ../again");
  },
);
