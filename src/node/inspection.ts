/**
 * What a replica on this node's disk holds, for a person who must decide whether it is to be believed: its refs, and
 * whether everything that they reach is there. Changes nothing.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { GitmeshError, messageOf } from "../base/errors.ts";
import type { ReplicaInspection } from "../protocol/node-api.ts";
import type { ObjectId, RefName } from "../protocol/ref-name.ts";
import type { Applier } from "./apply.ts";
import { isConnected } from "./connectivity.ts";
import type { Git } from "./git.ts";
import type { FairLimiter } from "../base/fair-limiter.ts";
import type { Repositories } from "./repositories.ts";

export interface InspectionDependencies {
  readonly repositories: Repositories;
  readonly git: Git;
  readonly limiter: FairLimiter;
  readonly applier: Applier;
}

type Ref = [name: RefName, oid: ObjectId, peeled: ObjectId | null];

const refsOutputBytesMax = 512 * 1024 * 1024;
const peeledMark = "^{}";

export class Inspection {
  readonly #deps: InspectionDependencies;

  constructor(deps: InspectionDependencies) {
    this.#deps = deps;
  }

  /** Throws "replica-not-found". Rejects when `signal` aborts; every other failure is a result. */
  async inspect(id: string, signal: AbortSignal): Promise<ReplicaInspection> {
    const { repositories, limiter, git } = this.#deps;
    const directory = await repositories.open(id);
    try {
      return await limiter.run(id, signal, async () => {
        const found = await this.#read(id, directory);
        const everything = [...new Set(found.refs.map(([, oid]) => oid))];
        const complete = await isConnected(git, { directory, signal }, everything, { trustOwnRefs: false });
        return { kind: "inspected", ...found, complete };
      });
    } catch (error) {
      signal.throwIfAborted();
      return { kind: "node-failed", message: messageOf(error) };
    }
  }

  /** Record and refs of one moment. */
  #read(id: string, directory: string) {
    const { repositories, applier, git } = this.#deps;
    return applier.exclusive(id, async () => {
      const { name, generation } = await repositories.record(id);
      const format = (await git.capture({ args: ["rev-parse", "--show-object-format"], directory })).toString().trim();
      if (format !== "sha1" && format !== "sha256") throw new GitmeshError("git-failed", `object format ${format}`);
      const objectFormat: "sha1" | "sha256" = format;
      const head = (await readFile(join(directory, "HEAD"))).toString("latin1");
      const defaultBranch = /^ref: (refs\/heads\/.+)\n$/.exec(head)?.[1] ?? "refs/heads/master";
      return { id, name, generation, objectFormat, defaultBranch, refs: await readPeeledRefs(git, directory) };
    });
  }
}

/** Throws "git-failed" when a ref is broken. */
async function readPeeledRefs(git: Git, directory: string): Promise<Ref[]> {
  const run = await git.attempt({ args: ["show-ref", "--dereference"], directory }, "", refsOutputBytesMax);
  // Without any ref it says nothing and exits with 1.
  if (run.code !== 0 && (run.code !== 1 || run.stderr !== "")) {
    throw new GitmeshError("git-failed", `its refs cannot be read: ${run.stderr.trim().slice(0, 300)}`);
  }
  const refs: Ref[] = [];
  for (const line of run.stdout.toString("latin1").split("\n")) {
    const space = line.indexOf(" ");
    if (space < 0) continue;
    const [oid, name] = [line.slice(0, space), line.slice(space + 1)];
    const last = refs.at(-1);
    if (last !== undefined && name === last[0] + peeledMark) last[2] = oid;
    else refs.push([name, oid, null]);
  }
  return refs;
}
