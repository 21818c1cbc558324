/** What refs there are: `git ls-remote`, and the same questions without a git client. */
import { pkt, pktLines } from "../../test/support/pkt-line.ts";
import type { Target } from "../measurement.ts";
import { shapes, type Shape } from "../shapes.ts";
import type { Round, Stage, Workload } from "../workload.ts";
import { versionTwo } from "./protocol.ts";

const lsRemotes = 10;

/** As a clone asks (gitprotocol-v2, ls-refs). */
const lsRefs = Buffer.concat([
  pkt("command=ls-refs\n"),
  pkt("agent=git/2.39.5"),
  pkt("object-format=sha1"),
  Buffer.from("0001"),
  ...["peel\n", "symrefs\n", "ref-prefix refs/heads/\n", "ref-prefix refs/tags/\n", "ref-prefix HEAD\n"].map(pkt),
  Buffer.from("0000"),
]);

export function refWorkloads(): Workload[] {
  return [
    {
      name: "ls-remote",
      rows: [{ id: "ls-remote", title: "git ls-remote, 301 refs", kept: { time: 0.8 }, plain: { time: 0.3 } }],
      serves: { refs300: shapes.refs300 },
      short: true,
      prepare: (stage) => requireSameRefs(stage, "refs300"),
      round: async (round) =>
        await round.time("ls-remote", lsRemotes, () => round.stage.client.git(["ls-remote", round.url("refs300")])),
    },
    {
      name: "info-refs",
      rows: [
        {
          id: "info-refs",
          title: "info/refs v2, 8 connections, no git client",
          kept: { rate: 10 },
          plain: { rate: 10 },
        },
      ],
      serves: { refs300: shapes.refs300 },
      short: true,
      round: async (round) => await round.rate("info-refs", infoRefs(round, "refs300", versionTwo)),
    },
    lsRefsWorkload("ls-refs", shapes.refs300, true, { rate: 20 }, { rate: 20 }),
    lsRefsWorkload("ls-refs-50k", shapes.refs50k, false, { rate: 10 }, { rate: 50 }),
    {
      name: "info-refs-50k",
      rows: [
        {
          id: "info-refs-50k",
          title: "info/refs v0, 50,001 refs, 8 connections",
          kept: { rate: 10 },
          plain: { rate: 50 },
        },
      ],
      serves: { refs50k: shapes.refs50k },
      short: false,
      round: async (round) => await round.rate("info-refs-50k", infoRefs(round, "refs50k", {})),
    },
  ];
}

function lsRefsWorkload(name: string, shape: Shape, short: boolean, kept: Target, plain: Target): Workload {
  const refs = shape.name === "refs50k" ? "50,001 refs" : "301 refs";
  return {
    name,
    rows: [{ id: name, title: `ls-refs, ${refs}, 8 connections`, kept, plain }],
    serves: { [shape.name]: shape },
    short,
    prepare: (stage) => requireSameRefs(stage, shape.name),
    round: async (round) =>
      await round.rate(name, {
        url: `${round.url(shape.name)}/git-upload-pack`,
        method: "POST",
        headers: uploadPackHeaders,
        body: lsRefs,
      }),
  };
}

const uploadPackHeaders = { ...versionTwo, "content-type": "application/x-git-upload-pack-request" };

function infoRefs(round: Round, repository: string, headers: Readonly<Record<string, string>>) {
  return { url: `${round.url(repository)}/info/refs?service=git-upload-pack`, method: "GET", headers } as const;
}

/** A quick answer that is another one would be worth nothing. */
async function requireSameRefs(stage: Stage, repository: string): Promise<void> {
  const answers = new Set<string>();
  for (const peer of stage.peers) {
    const answer = await fetch(`${peer.url(repository)}/git-upload-pack`, {
      method: "POST",
      headers: uploadPackHeaders,
      body: lsRefs,
    });
    answers.add(
      pktLines(await answer.text())
        .toSorted()
        .join("\n"),
    );
  }
  if (answers.size !== 1) throw new Error(`the peers do not have the same refs of ${repository}`);
}
