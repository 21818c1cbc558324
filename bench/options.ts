/** Options of `npm run bench`. */
import { parseArgs } from "node:util";

export const usage = `npm run bench -- [options]

Measures gitmesh against nginx with git http-backend on this machine and prints a table.

  --only PART     only the workloads whose name has PART in it; may be given again
  --rounds N      rounds of each workload (5; short form 2)
  --json FILE     writes every sample and figure there
  --repo WHERE    a repository (URL or path) that is cloned and imported too; may be given again
  --short         what takes at most two minutes; no target makes it fail
  --list          prints the workloads' names and ends`;

export interface Options {
  readonly only: readonly string[];
  readonly rounds: number;
  readonly json: string | undefined;
  readonly repo: readonly string[];
  readonly short: boolean;
  readonly list: boolean;
  readonly help: boolean;
}

const roundsDefault = 5;
const roundsShort = 2;
const roundsMax = 60;

/** Throws one sentence. */
export function parseOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: "string", multiple: true, default: [] },
      rounds: { type: "string" },
      json: { type: "string" },
      repo: { type: "string", multiple: true, default: [] },
      short: { type: "boolean", default: false },
      list: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  const rounds = Number(values.rounds ?? (values.short ? roundsShort : roundsDefault));
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > roundsMax)
    throw new RangeError(`--rounds: a whole number from 1 to ${roundsMax}`);
  return { ...values, rounds, json: values.json };
}
