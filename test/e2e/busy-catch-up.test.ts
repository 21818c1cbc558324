/** A node with an emptied disk is filled anew while twenty pushes a second arrive, and is complete at the end. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { startServers } from "../support/cluster.ts";
import { makeHistory } from "../support/git.ts";
import { preparePacks, type PreparedPush } from "../support/prepared-pushes.ts";
import { pushBody } from "../support/pkt-line.ts";
import { assertReplicas } from "../support/replicas.ts";
import { waitFor } from "../support/wait.ts";

const pushIntervalMs = 1000 / 20;
const branches = 10;

const cluster = await startServers({ env: { GITMESH_REPAIR_INTERVAL_MS: "300" } });
after(() => cluster.stop());

test("catching up while 20 pushes a second arrive", { timeout: 600_000 }, async () => {
  const url = await cluster.create("busy");
  const terminal = cluster.terminal();
  await makeHistory(terminal, "source.git", { commits: 2000, branches: 20, tags: 20 });
  await terminal.ok(`git -C source.git push -q --mirror ${url}`);
  const first = await terminal.ok("git -C source.git rev-parse master");
  const tree = await terminal.ok("git -C source.git rev-parse master^{tree}");

  await cluster.kill("node-3");
  await cluster.emptyDisk("node-3");
  const acknowledged: string[] = [];
  const refusals: string[] = [];
  /** A client that is told to try again does so. */
  const send = async ({ ref, old, oid, pack }: PreparedPush): Promise<void> => {
    const body = new Uint8Array(pushBody([{ ...(old === undefined ? {} : { old }), new: oid, ref }], pack));
    const headers = { "content-type": "application/x-git-receive-pack-request" };
    const push = async (): Promise<boolean> => {
      const text = await (await fetch(`${url}/git-receive-pack`, { method: "POST", headers, body })).text();
      if (text.includes(`ok ${ref}`)) return true;
      if (!text.includes("try again")) refusals.push(text);
      return !text.includes("try again");
    };
    await waitFor(push, { what: `${oid} to be taken`, limitMs: 120_000 });
    acknowledged.push(oid);
  };
  // An open loop: a push begins at its time whether or not those before it have ended; those of one branch wait in line.
  const lines = Array.from({ length: branches }, (_, index) => {
    return { prepared: preparePacks(`refs/heads/busy-${index}`, first, tree), tail: Promise.resolve() };
  });
  let begun = 0;
  let over = false;
  const timer = setInterval(() => {
    const line = lines[begun % branches];
    begun += 1;
    if (line === undefined) return;
    const next = line.prepared.next().value;
    const { tail } = line;
    line.tail = (async () => {
      await tail;
      if (over) return;
      await send(next).catch((error: unknown) => void refusals.push(String(error)));
    })();
  }, pushIntervalMs);
  try {
    await waitFor(() => acknowledged.length > 20, { what: "pushes to go on without node-3" });
    await cluster.start("node-3");
    await waitFor(async () => (await cluster.statusOn("node-3", "busy")) === "READY", {
      what: "node-3 to be READY while pushes arrive",
      limitMs: 120_000,
    });
    // It is READY among pushes: those that come now count it.
    const ready = acknowledged.length;
    await waitFor(() => acknowledged.length > ready + 40, { what: "more pushes", limitMs: 120_000 });
    assert.equal(await cluster.statusOn("node-3", "busy"), "READY", "it keeps up");
  } finally {
    clearInterval(timer);
    over = true;
  }
  await Promise.all(lines.map(({ tail }) => tail));
  assert.deepEqual(refusals.slice(0, 3), []);
  await assertReplicas(cluster, "busy", { commits: acknowledged, limitMs: 60_000 });
});
