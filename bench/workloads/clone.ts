/** Clones: for the first time and again, many at once, shallow and partial. Bare: a checkout is the client's affair. */
import { rmSync } from "node:fs";
import { pkt } from "../../test/support/pkt-line.ts";
import type { Target } from "../measurement.ts";
import type { Source } from "../repositories.ts";
import { shapes, type Shape } from "../shapes.ts";
import type { Round, Stage, Workload } from "../workload.ts";
import { versionTwo } from "./protocol.ts";

interface CloneTargets {
  readonly first: { readonly kept: Target; readonly plain: Target };
  readonly again: { readonly kept: Target; readonly plain: Target };
}

const again = { kept: { time: 0.9, cpu: 0.4 }, plain: { time: 0.8, cpu: 0.25 } };
const targets: Readonly<Record<"medium" | "large", CloneTargets>> = {
  medium: { first: { kept: { time: 1 }, plain: { time: 0.85 } }, again },
  large: { first: { kept: { time: 1.05 }, plain: { time: 1 } }, again },
};
const stormClients = 32;
const shortStormClients = 8;
const partialRepeats = 3;

/** `given`: repositories from outside, which are cloned in the same ways. */
export function cloneWorkloads(given: readonly Source[]): Workload[] {
  return [
    cloneWorkload(shapes.ten, "10 MB", true),
    cloneWorkload(shapes.deep, "deep history", false),
    cloneWorkload(shapes.files, "many small files, over 100 MB", false),
    cloneWorkload(shapes.blobs, "large blobs, over 100 MB", false),
    ...given.map((source) => cloneWorkload(source, source.name, true)),
    identicalRequests(),
    storm(shapes.long, "long history, over 100 MB", false),
    ...given.map((source) => storm(source, source.name, false)),
    parallelClones(),
    partial(shapes.ten, "10 MB", true),
    partial(shapes.files, "many small files, over 100 MB", false),
    ...given.map((source) => partial(source, source.name, true)),
  ];
}

async function cloneOnce(round: Round, repository: string, ...options: readonly string[]): Promise<void> {
  const { stage } = round;
  const directory = stage.path();
  await stage.client.git(["clone", "-q", "--bare", ...options, round.url(repository), directory]);
  // Not awaited by the clock of a single clone: what is removed later is in the working directory until the end.
  leftBehind.push(directory);
}

const leftBehind: string[] = [];

function removeClones(): void {
  for (const directory of leftBehind.splice(0)) rmSync(directory, { recursive: true });
}

function cloneWorkload(of: Shape | Source, title: string, short: boolean): Workload {
  const name = `clone-${of.name}`;
  const large = of.size === "large";
  const { first, again: repeated } = targets[large ? "large" : "medium"];
  const repeats = large ? 1 : 3;
  return {
    name,
    rows: [
      { id: `${name}-first`, title: `full clone, first time: ${title}`, ...first },
      { id: `${name}-again`, title: `full clone, repeated: ${title}`, ...repeated },
    ],
    serves: { [of.name]: of },
    short,
    round: async (round) => {
      await round.stage.advance(round.peer, of.name);
      await round.time(`${name}-first`, 1, () => cloneOnce(round, of.name));
      await round.time(`${name}-again`, repeats, () => cloneOnce(round, of.name));
      removeClones();
    },
  };
}

/** The bytes of one clone's request, 8 at a time, over and over. */
function identicalRequests(): Workload {
  let body: Buffer;
  return {
    name: "clone-requests",
    rows: [
      {
        id: "clone-requests",
        title: "identical full-clone requests, 8 connections, no git client",
        kept: { rate: 3 },
        plain: { rate: 6 },
      },
    ],
    serves: { requested: shapes.ten },
    short: true,
    prepare: async (stage) => {
      body = await cloneRequest(stage, await stage.source(shapes.ten));
    },
    round: async (round) =>
      await round.rate("clone-requests", {
        url: `${round.url("requested")}/git-upload-pack`,
        method: "POST",
        headers: { ...versionTwo, "content-type": "application/x-git-upload-pack-request" },
        body,
      }),
  };
}

/** As git 2.39 sends it (gitprotocol-v2, fetch). */
async function cloneRequest(stage: Stage, source: Source): Promise<Buffer> {
  const ids = await stage.client.git(["for-each-ref", "--format=%(objectname)", "refs/heads", "refs/tags"], {
    cwd: source.directory,
  });
  return Buffer.concat([
    pkt("command=fetch"),
    pkt("agent=git/2.39.5"),
    pkt("object-format=sha1"),
    Buffer.from("0001"),
    ...["thin-pack", "no-progress", "include-tag", "ofs-delta"].map(pkt),
    ...[...new Set(ids.split("\n"))].map((id) => pkt(`want ${id}\n`)),
    pkt("done\n"),
    Buffer.from("0000"),
  ]);
}

function storm(of: Shape | Source, title: string, short: boolean): Workload {
  const target = { time: 0.4, cpu: 0.1 };
  const name = `storm-${of.name}`;
  return {
    name,
    rows: [
      {
        id: name,
        title: `CI storm after a push: ${stormClients} clones --depth 1 --single-branch: ${title}`,
        kept: target,
        plain: target,
      },
    ],
    serves: { [of.name]: of },
    short,
    roundsMax: 3,
    round: async (round) => {
      await round.stage.advance(round.peer, of.name);
      await round.timeTogether(name, stormClients, () => cloneOnce(round, of.name, "--depth=1", "--single-branch"));
      removeClones();
    },
  };
}

function parallelClones(): Workload {
  return {
    name: "clones-together",
    rows: [
      {
        id: "clones-together",
        title: `${stormClients} full clones at once (short form: ${shortStormClients}), 10 MB`,
        kept: { time: 1, cpu: 0.4 },
        plain: { time: 0.9, cpu: 0.2 },
      },
    ],
    serves: { [shapes.ten.name]: shapes.ten },
    short: true,
    round: async (round) => {
      await round.stage.advance(round.peer, shapes.ten.name);
      const clients = round.stage.sizes.short ? shortStormClients : stormClients;
      await round.timeTogether("clones-together", clients, () => cloneOnce(round, shapes.ten.name));
      removeClones();
    },
  };
}

function partial(of: Shape | Source, title: string, short: boolean): Workload {
  const name = `partial-${of.name}`;
  return {
    name,
    rows: [{ id: name, title: `partial clone blob:none, repeated: ${title}`, kept: { cpu: 0.3 }, plain: { cpu: 0.1 } }],
    serves: { [of.name]: of },
    short,
    round: async (round) => {
      if (round.number === 0) await cloneOnce(round, of.name, "--filter=blob:none");
      await round.time(name, partialRepeats, () => cloneOnce(round, of.name, "--filter=blob:none"));
      removeClones();
    },
  };
}
