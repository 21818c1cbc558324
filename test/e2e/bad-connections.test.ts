/** Connections that are wrong: requests that look like smuggling, clients that stall or leave at any point. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { after, afterEach, before, test } from "node:test";
import { startCluster } from "../support/cluster.ts";
import { refsOfRemote, writeRandomFile } from "../support/git.ts";
import { pkt, pktLines, pushBody } from "../support/pkt-line.ts";
import { rawConnect, rawHttp, rawPost, readAnswer } from "../support/raw-http.ts";
import { waitForQuarantine } from "../support/replicas.ts";
import type { Terminal } from "../support/terminal.ts";
import { assertNothingRuns, assertUnharmed } from "../support/unharmed.ts";
import { waitFor } from "../support/wait.ts";

const idleMs = 1500;
const cluster = await startCluster({ env: { GITMESH_REQUEST_IDLE_MS: String(idleMs) } });
after(() => cluster.stop());

const pushPath = "/git/target.git/git-receive-pack";
const pushType = "application/x-git-receive-pack-request";
let work: Terminal;
let refs = "";
let largeOid = "";
/** A push of some 30 MB that would be taken. */
let largePush: Buffer = Buffer.alloc(0);

before(async () => {
  await cluster.create("target");
  const terminal = cluster.terminal();
  await terminal.ok("git init -q work");
  work = terminal.in("work");
  writeRandomFile(work, "large", 30_000_000);
  await work.ok(
    "git add . && git commit -q -m large && git remote add origin $GIT/target.git && git push -q origin master",
  );
  refs = await refsOfRemote(work, cluster.repo("target"));
  writeRandomFile(work, "large", 30_000_000);
  await work.ok("git commit -q -a -m larger && git rev-parse HEAD^{commit} > ../oid");
  await work.ok("printf '%s\\n^%s\\n' $(git rev-parse HEAD HEAD~1) | git pack-objects -q --revs --stdout > ../pack");
  largeOid = await terminal.ok("cat oid");
  largePush = pushBody([{ new: largeOid, ref: "refs/heads/large" }], readFileSync(join(terminal.directory, "pack")));
});
afterEach(() => assertUnharmed(cluster, "target", refs));

test("requests that look like smuggling get 400 and the end of their connection", async () => {
  const chunked = "Transfer-Encoding: chunked";
  const second = "GET /api/cluster HTTP/1.1\r\nHost: x\r\n\r\n";
  const heads: [string, string][] = [
    ["both a length and chunks", `Content-Length: 4\r\n${chunked}`],
    ["chunks and a length", `${chunked}\r\nContent-Length: 4`],
    ["two lengths", "Content-Length: 4\r\nContent-Length: 5"],
    ["a list of lengths", "Content-Length: 4, 5"],
    ["a length with a sign", "Content-Length: +4"],
    ["a negative length", "Content-Length: -4"],
    ["a length in hex", "Content-Length: 0x4"],
    ["a length that overflows", "Content-Length: 99999999999999999999999"],
    ["a folded header", "X-A: b\r\n c: d\r\nContent-Length: 4"],
    ["a space before the colon", "Content-Length : 4"],
    ["a space in a name", "Content Length: 4"],
    ["an unknown coding", "Transfer-Encoding: xchunked"],
    ["chunked that is not last", "Transfer-Encoding: chunked, gzip"],
    ["chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked, identity"],
    ["a NUL in a header", "X-A: a\0b\r\nContent-Length: 4"],
    ["a bare CR", "X-A: a\rContent-Length: 4"],
    ["no host", "REMOVE-HOST\r\nContent-Length: 4"],
  ];
  for (const [what, head] of heads) {
    const host = head.startsWith("REMOVE-HOST") ? "" : "Host: x\r\n";
    const text = `POST ${pushPath} HTTP/1.1\r\n${host}Content-Type: ${pushType}\r\n${head.replace("REMOVE-HOST\r\n", "")}\r\n\r\n0\r\n\r\n${second}`;
    const answer = await rawHttp(cluster.url, text);
    assert.equal(answer.status, 400, `${what}: ${answer.status} ${answer.body}`);
    assert.equal(answer.headers["connection"], "close", what);
    assert.ok(!answer.body.includes("HTTP/1.1"), `${what}: a second answer`);
  }
  for (const chunk of ["zz\r\n", "-1\r\n", "ffffffffffffffffff\r\n", "4\r\n00eeX", "4;\n00ee"]) {
    const answer = await rawHttp(
      cluster.url,
      `POST ${pushPath} HTTP/1.1\r\nHost: x\r\nContent-Type: ${pushType}\r\n${chunked}\r\n\r\n${chunk}`,
    );
    assert.ok([0, 400, 408].includes(answer.status), `chunk ${JSON.stringify(chunk)}: ${answer.status} ${answer.body}`);
  }
});

test("what is no HTTP, or too much of it, is told so", async () => {
  const large = "x".repeat(20_000);
  const requests: [string, number][] = [
    [`GET / HTTP/1.1\r\nHost: x\r\nX-Large: ${large}\r\n\r\n`, 431],
    [`GET /${large} HTTP/1.1\r\nHost: x\r\n\r\n`, 431],
    ["hello\r\n\r\n", 400],
    ["GET / HTTP/9.9\r\nHost: x\r\n\r\n", 400],
    ["GET /\r\n\r\n", 404],
    ["FROBNICATE / HTTP/1.1\r\nHost: x\r\n\r\n", 400],
    ["\u0016\u0003\u0001\u0002\u0000\u0001", 400],
  ];
  for (const [text, status] of requests) {
    const answer = await rawHttp(cluster.url, text);
    assert.ok(
      answer.status === status || (status === 431 && answer.status === 414),
      `${text.slice(0, 40)}: ${answer.status}`,
    );
  }
});

test("an upload that stalls is ended, on the controller and on the nodes", async () => {
  const request = rawPost(pushPath, largePush, { "Content-Type": pushType });
  for (const sent of [
    40,
    request.length - largePush.length,
    request.length - largePush.length + 100,
    request.length >> 1,
  ]) {
    const socket = await rawConnect(cluster.url);
    const startMs = performance.now();
    socket.write(request.subarray(0, sent));
    const answer = await readAnswer(socket, 20_000);
    assert.ok([0, 200, 400, 408].includes(answer.status), `${sent} bytes: ${answer.status} ${answer.body}`);
    assert.ok(performance.now() - startMs >= idleMs * 0.5, `${sent} bytes: ended before it stalled`);
    socket.destroy();
    await assertNothingRuns(cluster);
  }
});

test("an upload that is slow but moves is taken", async () => {
  const terminal = cluster.terminal();
  await cluster.create("slow");
  await terminal.ok("git init -q w && cd w && git commit -q --allow-empty -m slow && git rev-parse HEAD > ../oid");
  await terminal.ok("cd w && git rev-parse HEAD | git pack-objects -q --revs --stdout > ../pack");
  const body = pushBody(
    [{ new: await terminal.ok("cat oid"), ref: "refs/heads/master" }],
    readFileSync(join(terminal.directory, "pack")),
  );
  const request = rawPost("/git/slow.git/git-receive-pack", body, { "Content-Type": pushType });
  const socket = await rawConnect(cluster.url);
  const parts = 8;
  for (let part = 0; part < parts; part += 1) {
    socket.write(request.subarray((request.length * part) / parts, (request.length * (part + 1)) / parts));
    // Less than the limit each, more than it together.
    await sleep(idleMs / 3);
  }
  const answer = await readAnswer(socket);
  assert.deepEqual(pktLines(answer.body), ["unpack ok", "ok refs/heads/master"]);
  socket.destroy();
});

test("a download that nobody reads is ended, on the controller and on the nodes", async () => {
  const body = Buffer.concat([
    pkt("command=fetch"),
    Buffer.from("0001"),
    pkt(`want ${refs.slice(0, 40)}`),
    pkt("done"),
    Buffer.from("0000"),
  ]);
  const headers = { "Content-Type": "application/x-git-upload-pack-request", "Git-Protocol": "version=2" };
  const socket = await rawConnect(cluster.url);
  socket.pause();
  socket.write(rawPost("/git/target.git/git-upload-pack", body, headers));
  await waitFor(() => cluster.gitProcesses().length > 0, { what: "the fetch to begin" });
  await assertNothingRuns(cluster, idleMs * 10);
  socket.destroy();
});

test("clients that leave at any point of an upload", async () => {
  const request = rawPost(pushPath, largePush, { "Content-Type": pushType });
  const headBytes = request.length - largePush.length;
  const points = [
    1,
    20,
    headBytes - 1,
    headBytes,
    headBytes + 3,
    headBytes + 50,
    headBytes + 120,
    headBytes + 200,
    request.length >> 2,
  ];
  points.push(request.length >> 1, request.length - 30, request.length - 1);
  for (const point of points) {
    for (const how of ["destroy", "resetAndDestroy"] as const) {
      const socket = await rawConnect(cluster.url);
      await new Promise((resolve) => socket.write(request.subarray(0, point), resolve));
      socket[how]();
    }
  }
  await assertNothingRuns(cluster);
});

test("git that is killed during a push and during a clone", async () => {
  for (let round = 0; round < 3; round += 1) {
    const push = work.start("git -c pack.compression=0 push -q origin HEAD:refs/heads/killed");
    await waitForQuarantine(cluster, "node-1");
    push.kill();
    await push.outcome;
    const clone = work.start(`git clone -q --depth ${100 + round} $GIT/target.git ../killed-${round}`);
    await waitFor(() => cluster.gitProcesses().some((command) => command.includes("upload-pack")), {
      what: "the clone to begin",
    });
    clone.kill();
    await clone.outcome;
  }
  await assertNothingRuns(cluster);
});

test("clients that leave at any point of a download", async () => {
  const body = Buffer.concat([
    pkt("command=fetch"),
    Buffer.from("0001"),
    pkt(`want ${refs.slice(0, 40)}`),
    pkt("done"),
    Buffer.from("0000"),
  ]);
  const headers = { "Content-Type": "application/x-git-upload-pack-request", "Git-Protocol": "version=2" };
  for (const bytes of [0, 1, 500, 70_000, 5_000_000]) {
    const socket = await rawConnect(cluster.url);
    let received = 0;
    const reached = new Promise<void>((resolve) => {
      if (bytes === 0) resolve();
      socket.on("data", (chunk: Buffer) => {
        received += chunk.length;
        if (received >= bytes) resolve();
      });
    });
    socket.write(rawPost("/git/target.git/git-upload-pack", body, headers));
    await reached;
    socket.destroy();
  }
  await assertNothingRuns(cluster);
});
