/** How git's requests come over HTTP: chunked, compressed, with Expect, with progress on the side band. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { gzipSync } from "node:zlib";
import { startCluster } from "../support/cluster.ts";
import { makeHistory, writeRandomFile } from "../support/git.ts";
import { pkt, pktLines } from "../support/pkt-line.ts";
import { rawConnect, readAnswer } from "../support/raw-http.ts";
import { assertReplicas } from "../support/replicas.ts";

const cluster = await startCluster();
after(() => cluster.stop());

test("a small http.postBuffer sends the pack chunked, after a probe", async () => {
  const terminal = cluster.terminal();
  await cluster.create("chunked");
  await terminal.ok("git init -q work");
  const work = terminal.in("work");
  writeRandomFile(work, "random", 3_000_000);
  await work.ok("git add . && git commit -q -m random");
  const push = await work.run("GIT_CURL_VERBOSE=1 git -c http.postBuffer=65536 push $GIT/chunked.git master");
  assert.equal(push.code, 0, push.stderr);
  assert.match(push.stderr, /Transfer-Encoding: chunked/i);
  await assertReplicas(cluster, "chunked");
  await work.ok("git -c http.postBuffer=65536 fetch -q $GIT/chunked.git");
  // Whether the probe and the push share a connection is a matter of luck: so several times.
  for (let push = 0; push < 8; push += 1) {
    writeRandomFile(work, "random", 2_000_000);
    await work.ok("git commit -q -a -m again && git push -q $GIT/chunked.git master");
  }
});

test("Expect: 100-continue is answered before the body", async () => {
  const terminal = cluster.terminal();
  await cluster.create("expected");
  await terminal.ok("git init -q work && cd work && git commit -q --allow-empty -m one");
  await terminal.ok(
    "cd work && git rev-parse HEAD > ../oid && git rev-parse HEAD | git pack-objects --revs --stdout -q > ../pack",
  );
  await terminal.ok(`
    oid=$(cat oid)
    { printf '00860000000000000000000000000000000000000000 %s refs/heads/master\\0 report-status agent=test/1.0 object-format=sha1' $oid | wc -c > length; }
    line="0000000000000000000000000000000000000000 $oid refs/heads/master"
    { printf '%04x%s\\0 report-status' $((\${#line} + 4 + 15)) "$line"; printf 0000; cat pack; } > body
    curl -sS --fail --expect100-timeout 20 -H 'Expect: 100-continue' \\
      -H 'Content-Type: application/x-git-receive-pack-request' --data-binary @body $GIT/expected.git/git-receive-pack > answer
  `);
  assert.deepEqual(pktLines(await terminal.ok("cat answer")), ["unpack ok", "ok refs/heads/master"]);
  await assertReplicas(cluster, "expected");
  const socket = await rawConnect(cluster.url);
  socket.write(
    "POST /git/expected.git/git-upload-pack HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\n" +
      "Content-Type: application/x-git-upload-pack-request\r\nContent-Length: 4\r\n\r\n",
  );
  const first = await new Promise<string>((resolve) => socket.once("data", (data: Buffer) => resolve(data.toString())));
  assert.match(first, /^HTTP\/1\.1 100/);
  socket.write("0000");
  assert.equal((await readAnswer(socket)).status, 200);
  socket.destroy();
});

test("many haves are sent compressed, and understood", async () => {
  const terminal = cluster.terminal();
  await cluster.create("haves");
  await makeHistory(terminal, "source.git", { commits: 300 });
  await terminal.ok("git -C source.git push -q $GIT/haves.git master");
  for (const version of [0, 2]) {
    await makeHistory(terminal, `mine-${version}`, { commits: 400, salt: "mine" });
    const mine = terminal.in(`mine-${version}`).with({ GIT_CURL_VERBOSE: "1" });
    const fetch = await mine.run(`git -c protocol.version=${version} fetch $GIT/haves.git master:theirs`);
    assert.equal(fetch.code, 0, fetch.stderr);
    assert.match(fetch.stderr, /Content-Encoding: gzip/i, `v${version}`);
    assert.equal(await mine.ok("git rev-list --count theirs"), "300");
  }
});

test("gzip and deflate bodies are taken, another encoding is 415, a broken one 400", async () => {
  const post = async (body: Uint8Array, encoding: string): Promise<{ status: number; text: string }> => {
    const answer = await fetch(`${cluster.url}/git/haves.git/git-upload-pack`, {
      method: "POST",
      headers: {
        "content-type": "application/x-git-upload-pack-request",
        "content-encoding": encoding,
        "git-protocol": "version=2",
      },
      body: new Uint8Array(body),
    });
    return { status: answer.status, text: await answer.text() };
  };
  const request = Buffer.concat([pkt("command=ls-refs\n"), Buffer.from("0001"), pkt("peel\n"), Buffer.from("0000")]);
  const plain = await post(request, "identity");
  assert.equal(plain.status, 200);
  assert.match(plain.text, /refs\/heads\/master/);
  assert.deepEqual(await post(gzipSync(request), "gzip"), plain);
  assert.deepEqual(await post(gzipSync(request), "x-gzip"), plain);
  assert.equal((await post(request, "br")).status, 415);
  assert.equal((await post(request, "gzip")).status, 400);
  assert.equal((await post(gzipSync(request).subarray(0, 20), "gzip")).status, 400);
});

test("progress and the server's lines come on the side band", async () => {
  const terminal = cluster.terminal();
  await cluster.create("progress");
  await makeHistory(terminal, "source.git", { commits: 500 });
  const push = await terminal.run("git -C source.git push --progress $GIT/progress.git master");
  assert.equal(push.code, 0, push.stderr);
  assert.match(push.stderr, /Writing objects: 100%/);
  assert.match(push.stderr, /^remote: /m);
  const clone = await terminal.run("git clone --progress $GIT/progress.git clone");
  assert.match(clone.stderr, /remote: Enumerating objects: \d+/);
  assert.match(clone.stderr, /Receiving objects: 100%/);
  const quiet = await terminal.run("git -C clone commit -q --allow-empty -m x && git -C clone push -q origin master");
  assert.deepEqual([quiet.code, quiet.stderr], [0, ""]);
});

test("answers are not cached, and have git's content types", async () => {
  for (const service of ["git-upload-pack", "git-receive-pack"]) {
    const answer = await fetch(`${cluster.url}/git/haves.git/info/refs?service=${service}`);
    const text = await answer.text();
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get("content-type"), `application/x-${service}-advertisement`);
    assert.match(answer.headers.get("cache-control") ?? "", /no-cache/);
    assert.ok(
      text.startsWith(`${service === "git-upload-pack" ? "001e" : "001f"}# service=${service}\n0000`),
      text.slice(0, 60),
    );
  }
  const wrongType = await fetch(`${cluster.url}/git/haves.git/git-upload-pack`, { method: "POST", body: "0000" });
  assert.equal(wrongType.status, 415);
  const wrongMethod = await fetch(`${cluster.url}/git/haves.git/git-upload-pack`);
  assert.equal(wrongMethod.status, 405);
  await Promise.all([wrongType.text(), wrongMethod.text()]);
});

test("HTTP/1.0, keep-alive and HEAD", async () => {
  const terminal = cluster.terminal();
  assert.match(
    await terminal.ok("curl -sS -0 $GIT/haves.git/info/refs?service=git-upload-pack | tr -d '\\0'"),
    /# service=git-upload-pack/,
  );
  await terminal.ok("curl -sS --fail -I $GIT/haves.git/info/refs?service=git-upload-pack");
  const reused = await terminal.run("curl -sS -v -o a -o b $URL/api/cluster $URL/api/cluster");
  assert.match(reused.stderr, /Re-using existing connection/i);
});
