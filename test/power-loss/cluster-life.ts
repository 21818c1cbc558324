/** What a cluster goes through while it is recorded: every way in which files change on its disks. */
import { makeHistory } from "../support/git.ts";
import { waitFor } from "../support/wait.ts";
import type { Recorder } from "./recording.ts";

const manyRefs = 130;
/** Traced servers are slow. */
const slowMs = 120_000;

async function script(recorder: Recorder): Promise<void> {
  const { cluster, work } = recorder;
  await makeHistory(work, "history", { commits: 40, tags: 1 });
  const local = work.in("history");
  const oidOf = (revision: string): Promise<string> => local.ok(`git rev-parse '${revision}'`);
  const push = (refs: Readonly<Record<string, string | null>>): Promise<void> => recorder.pushFrom(local, "a/b", refs);
  const [first, second, third, tag] = await Promise.all(["master~30", "master~20", "master~10", "t/0"].map(oidOf));
  const newest = await oidOf("master");
  if (first === undefined || second === undefined || third === undefined || tag === undefined)
    throw new Error("no history");

  await recorder.create("a/b");
  await push({ "refs/heads/master": first, "refs/heads/deep/er/x": first, "refs/tags/t": tag });
  await push({ "refs/heads/master": second });
  // A directory becomes a ref, and a ref a directory.
  await push({ "refs/heads/deep/er/x": null, "refs/heads/deep": second, "refs/heads/new/y": second });
  // No pack at all. A push without deletes leaves files, which one that deletes something packs.
  await push({ "refs/heads/same": first, "refs/heads/loose/z": first });
  const many = Array.from({ length: manyRefs }, (_value, index) => `refs/heads/many/${index % 3}/b${index}`);
  await push(Object.fromEntries(many.map((name) => [name, second])));
  await push({ "refs/heads/master": third, "refs/heads/many/0/b0": third, "refs/heads/same": null });
  await push(Object.fromEntries(many.slice(0, 110).map((name) => [name, null])));
  await recorder.create("gone");
  await recorder.pushFrom(local, "gone", { "refs/heads/master": first });

  // A node that is killed, comes back and has missed a push.
  await cluster.waitReady("a/b", 3, slowMs);
  const [killed] = await cluster.replicaDirectories("a/b").then((directories) => [...directories.keys()]);
  if (killed === undefined) throw new Error("no replica");
  cluster.pause(killed);
  // Also refs that it has as files: what it has of them must not come back.
  await push({ "refs/heads/while-dead": third, "refs/heads/loose/z": third, "refs/heads/deep": null });
  await cluster.kill(killed);
  await cluster.waitReady("a/b", 3, slowMs);

  // One that hangs for so long that another takes its place.
  const holders = [...(await cluster.replicaDirectories("a/b")).keys()];
  const [hanging = ""] = holders;
  cluster.pause(hanging);
  await push({ "refs/heads/master": newest, "refs/heads/while-hanging": newest, "refs/tags/t": null });
  await waitFor(
    async () => {
      const { nodes, generation } = await cluster.show("a/b");
      const complete = nodes.filter((node) => node.status === "READY" && node.generation === generation);
      return complete.filter(({ url }) => url !== cluster.nodeUrl(hanging)).length >= 3;
    },
    { what: `another node than ${hanging} to be READY`, limitMs: slowMs },
  );
  cluster.resume(hanging);
  await recorder.delete("gone");
  await push({ "refs/heads/while-dead": null, "refs/heads/last": newest });
  await waitFor(async () => (await cluster.show("a/b")).nodes.every(({ status }) => status === "READY"), {
    what: "the surplus copy to be moved aside",
    limitMs: slowMs,
  });
  await cluster.waitReady("a/b", 3, slowMs);
}

export const clusterLife = {
  options: {
    nodes: 4,
    env: {
      GITMESH_NODE_TIMEOUT_MS: "8000",
      GITMESH_NODE_IDLE_MS: "8000",
      GITMESH_REPAIR_GRACE_MS: "3000",
      GITMESH_REPAIR_INTERVAL_MS: "300",
    },
  },
  script,
};
