/** New repositories, on three nodes, against git alone making as many. */
import { Pool } from "undici";
import type { Row } from "../measurement.ts";
import type { Round, Workload } from "../workload.ts";

const repositories = 100;
const replicas = 3;
const row: Row = {
  id: "create",
  title: `creating ${repositories} repositories on three nodes; baseline: ${repositories * replicas} times git init --bare`,
  kept: { time: 1 },
};

export function createWorkloads(): Workload[] {
  return [
    {
      name: row.id,
      rows: [row],
      peers: ["gitmesh", "kept"],
      serves: {},
      short: true,
      round: async (round) => {
        if (round.peer.name === "gitmesh") await create(round);
        else await initialise(round);
      },
    },
  ];
}

/** One after the other, through the API. */
async function create(round: Round): Promise<void> {
  const { origin } = new URL(round.url("any"));
  const pool = new Pool(origin, { connections: 1 });
  try {
    await round.time(row.id, 1, async () => {
      for (let index = 0; index < repositories; index += 1) {
        const path = `/api/repos/created-${round.number}-${index}`;
        const { statusCode, body } = await pool.request({ path, method: "POST" });
        const said = await body.text();
        if (statusCode !== 201) throw new Error(`POST ${path}: ${statusCode} ${said}`);
      }
    });
  } finally {
    await pool.close();
  }
}

async function initialise(round: Round): Promise<void> {
  const script = `for i in $(seq ${repositories * replicas}); do git init -q --bare "$0-$i" || exit 1; done`;
  await round.time(row.id, 1, () => round.stage.client.run("sh", ["-c", script, round.stage.path()]));
}
