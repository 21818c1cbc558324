/** The first push of a whole repository. */
import { allRefs, type Source } from "../repositories.ts";
import { shapes, type Shape } from "../shapes.ts";
import type { Workload } from "../workload.ts";

export function importWorkloads(given: readonly Source[]): Workload[] {
  return [
    importWorkload(shapes.ten, "10 MB (no target)", true),
    importWorkload(shapes.files, "many small files, over 100 MB", false),
    importWorkload(shapes.blobs, "large blobs, over 100 MB", false),
    ...given.map((source) => importWorkload(source, source.name, false)),
  ];
}

function importWorkload(of: Shape | Source, title: string, short: boolean): Workload {
  const row = `import-${of.name}`;
  return {
    name: row,
    // An empty repository is the same before and after git gc.
    rows: [{ id: row, title: `import: ${title}`, ...(of.size === "large" ? { plain: { time: 1.15, cpu: 1.4 } } : {}) }],
    peers: ["gitmesh", "plain"],
    serves: {},
    short,
    roundsMax: 5,
    round: async (round) => {
      const { stage, peer } = round;
      const { directory } = await stage.source(of);
      const name = `imported-${of.name}-${round.number}`;
      await peer.create(name);
      await round.time(row, 1, () => stage.client.git(["push", "-q", peer.url(name), ...allRefs], { cwd: directory }));
      await peer.remove(name);
    },
  };
}
