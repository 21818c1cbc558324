/** Pushes: small ones in a row, from many clients, a thousand tags, into many refs. */
import { rmSync } from "node:fs";
import { shapes } from "../shapes.ts";
import type { Round, Stage, Workload } from "../workload.ts";

const pushesPerRound = 100;
const shortPushesPerRound = 20;
const clients = 16;
const pushesPerClient = 3;
const tags = 1000;
const pushesToMany = 3;
const roundsMax = 60;

interface Commits {
  readonly directory: string;
  readonly ids: readonly string[];
}

export function pushWorkloads(): Workload[] {
  return [smallPushes(), manyClients(), thousandTags(), pushToManyRefs()];
}

async function push(round: Round, commits: Commits, index: number, repository: string): Promise<void> {
  const id = commits.ids[index];
  if (id === undefined) throw new Error(`no commit ${index} was made`);
  const { client } = round.stage;
  await client.git(["push", "-q", round.url(repository), `${id}:refs/heads/master`], { cwd: commits.directory });
}

function smallPushes(): Workload {
  const row = "pushes";
  const target = { time: 1, cpu: 2 };
  let commits: Commits;
  return {
    name: row,
    rows: [{ id: row, title: "small pushes, one after the other (each)", kept: target, plain: target }],
    serves: { pushes: shapes.refs300 },
    short: true,
    roundsMax,
    prepare: async (stage) => {
      const count = roundsMax * pushesPerRound;
      commits = await stage.repositories.commits(await stage.source(shapes.refs300), stage.path(), count, "chain");
    },
    round: async (round) => {
      const times = round.stage.sizes.short ? shortPushesPerRound : pushesPerRound;
      await round.time(row, times, (index) => push(round, commits, round.number * times + index, "pushes"));
    },
  };
}

function manyClients(): Workload {
  const row = "pushes-together";
  const target = { time: 1.2 };
  const names = Array.from({ length: clients }, (_, index) => `pushed-${index + 1}`);
  let commits: Commits;
  return {
    name: row,
    rows: [
      {
        id: row,
        title: `${clients} clients, ${pushesPerClient} pushes each to a repository each`,
        kept: target,
        plain: target,
      },
    ],
    serves: Object.fromEntries(names.map((name) => [name, shapes.tiny])),
    short: true,
    roundsMax,
    prepare: async (stage) => {
      const count = roundsMax * pushesPerClient;
      commits = await stage.repositories.commits(await stage.source(shapes.tiny), stage.path(), count, "chain");
    },
    round: async (round) =>
      await round.timeTogether(row, clients, async (client) => {
        for (let index = 0; index < pushesPerClient; index += 1)
          await push(round, commits, round.number * pushesPerClient + index, names[client] ?? "");
      }),
  };
}

function thousandTags(): Workload {
  const row = "push-tags";
  const target = { time: 0.4 };
  return {
    name: row,
    rows: [{ id: row, title: "push of 1,000 new tags at once", kept: target, plain: target }],
    serves: { tagged: shapes.refs300 },
    short: true,
    round: async (round) => {
      const directory = await tagged(round.stage, round.number);
      const refspec = "refs/new/*:refs/tags/*";
      await round.time(row, 1, () =>
        round.stage.client.git(["push", "-q", round.url("tagged"), refspec], { cwd: directory }),
      );
      rmSync(directory, { recursive: true });
    },
  };
}

/** A client's repository with new refs to push, on commits that the server has. */
async function tagged(stage: Stage, number: number): Promise<string> {
  const source = await stage.source(shapes.refs300);
  const directory = stage.path();
  await stage.repositories.borrowing(source, directory);
  const listed = await stage.client.git(["rev-list", `--max-count=${tags}`, source.defaultBranch], {
    cwd: source.directory,
  });
  const ids = listed.split("\n");
  const lines = Array.from(
    { length: tags },
    (_, index) => `create refs/new/r${number}/${index} ${ids[index % ids.length]}`,
  );
  await stage.client.git(["update-ref", "--stdin"], { cwd: directory, input: `${lines.join("\n")}\n` });
  await stage.client.git(["pack-refs", "--all"], { cwd: directory });
  return directory;
}

function pushToManyRefs(): Workload {
  const row = "push-50k";
  let commits: Commits;
  return {
    name: row,
    rows: [{ id: row, title: "one small push, 50,001 refs", kept: { time: 0.5 }, plain: { time: 0.3 } }],
    serves: { many: shapes.refs50k },
    short: false,
    roundsMax,
    prepare: async (stage) => {
      const count = roundsMax * pushesToMany;
      commits = await stage.repositories.commits(await stage.source(shapes.refs50k), stage.path(), count, "chain");
    },
    round: async (round) =>
      await round.time(row, pushesToMany, (index) => push(round, commits, round.number * pushesToMany + index, "many")),
  };
}
