/** `git fetch` by a client that has all, or all but one commit. */
import { rmSync } from "node:fs";
import { shapes } from "../shapes.ts";
import type { Workload } from "../workload.ts";

const idleFetches = 10;
const repeats = 4;
const roundsMax = 100;

export function fetchWorkloads(): Workload[] {
  let upToDate = "";
  let commits: { readonly directory: string; readonly ids: readonly string[] };
  return [
    {
      name: "fetch-nothing",
      rows: [{ id: "fetch-nothing", title: "fetch with nothing new", kept: { time: 0.7 }, plain: { time: 0.5 } }],
      serves: { refs300: shapes.refs300 },
      short: true,
      prepare: async (stage) => {
        upToDate = stage.path();
        await stage.repositories.copy(await stage.source(shapes.refs300), upToDate);
      },
      round: async (round) =>
        await round.time("fetch-nothing", idleFetches, () =>
          round.stage.client.git(["fetch", "-q", round.url("refs300"), "+refs/heads/*:refs/heads/*"], {
            cwd: upToDate,
          }),
        ),
    },
    {
      name: "fetch-one",
      rows: [
        { id: "fetch-one-first", title: "fetch of one new commit, first time", kept: { time: 1 }, plain: { time: 1 } },
        {
          id: "fetch-one-again",
          title: "fetch of one new commit, repeated",
          kept: { time: 0.6 },
          plain: { time: 0.6 },
        },
      ],
      serves: { fetched: shapes.ten },
      short: true,
      roundsMax,
      prepare: async (stage) => {
        commits = await stage.repositories.commits(await stage.source(shapes.ten), stage.path(), roundsMax, "fan");
      },
      round: async (round) => {
        const { stage, peer } = round;
        const { client, repositories } = stage;
        await client.git(["push", "-q", peer.url("fetched"), `+${commits.ids[round.number]}:refs/heads/bench`], {
          cwd: commits.directory,
        });
        const source = await stage.source(shapes.ten);
        const clones = Array.from({ length: 1 + repeats }, () => stage.path());
        for (const clone of clones) await repositories.copy(source, clone);
        const fetchInto = (clone: string | undefined) =>
          client.git(["fetch", "-q", peer.url("fetched"), "+refs/heads/bench:refs/heads/bench"], { cwd: clone ?? "" });
        await round.time("fetch-one-first", 1, () => fetchInto(clones[0]));
        await round.time("fetch-one-again", repeats, (index) => fetchInto(clones[1 + index]));
        for (const clone of clones) rmSync(clone, { recursive: true });
      },
    },
  ];
}
