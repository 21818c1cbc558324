/**
 * Staging: a push's pack becomes durable objects of a replica, or leaves no trace.
 *
 * The pack is indexed in a quarantine, checked (its objects, and that all that the new values reach is there), moved
 * into the object store and made durable. No ref changes here.
 */
import { createReadStream, createWriteStream } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { crashPoint } from "../base/crash-point.ts";
import { GitmeshError, messageOf } from "../base/errors.ts";
import type { FairLimiter } from "../base/fair-limiter.ts";
import type { StageHeader, StageResult } from "../protocol/node-api.ts";
import type { ObjectId } from "../protocol/ref-name.ts";
import { checkTips } from "./connectivity.ts";
import { syncDirectory } from "./durable-file.ts";
import type { Git } from "./git.ts";
import { feed } from "./git-streams.ts";
import { badPackMessage, isNodeFailure } from "./index-pack-failure.ts";
import { commitsIn } from "./pack-index.ts";
import { PackReader } from "./pack-reader.ts";
import { Quarantine } from "./quarantine.ts";
import type { Repositories } from "./repositories.ts";

export interface StageDependencies {
  readonly repositories: Repositories;
  readonly git: Git;
  readonly limiter: FairLimiter;
}

/** One push at one replica. */
interface Staging {
  readonly id: string;
  readonly directory: string;
  readonly quarantine: Quarantine;
  readonly header: StageHeader;
  readonly signal: AbortSignal;
  /** Gets git's progress of resolving deltas. */
  readonly onProgress: (text: string) => void;
}

/** Findings in old histories that hosts let pass: the commits cannot be changed any more. */
const toleratedFindings = [
  "badTimezone",
  "missingEmail",
  "missingNameBeforeEmail",
  "missingSpaceBeforeDate",
  "missingSpaceBeforeEmail",
  "zeroPaddedDate",
  "zeroPaddedFilemode",
  "badDate",
  "badDateOverflow",
  "badEmail",
  "badName",
];

const strict = toleratedFindings.map((finding) => `${finding}=ignore`).join(",");
/** For more tips than these one process of git is quicker than to look for each. */
const lookedUpTipsMax = 100;
/** No object that needs more memory than this is taken: what a pack declares is the client's word. */
const objectMemoryMax = "2g";

export class Stager {
  readonly #deps: StageDependencies;

  constructor(deps: StageDependencies) {
    this.#deps = deps;
  }

  /**
   * Stages a pack. Rejects when `signal` aborts or the pack's stream breaks (the controller is gone), and when the
   * replica is not here; all else is a result.
   */
  async stage(
    id: string,
    header: StageHeader,
    pack: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
    onProgress: (text: string) => void,
  ): Promise<StageResult> {
    const directory = await this.#deps.repositories.open(id);
    const upload = new PackReader(pack);
    let quarantine: Quarantine | undefined;
    try {
      quarantine = await Quarantine.open(directory);
      crashPoint("stage.quarantine-made");
      return await this.#stageIn({ id, directory, quarantine, header, signal, onProgress }, upload);
    } catch (error) {
      signal.throwIfAborted();
      if (upload.brokeOff) throw error;
      if (error instanceof GitmeshError && error.code === "busy") return { kind: "busy", message: error.message };
      return { kind: "node-failed", message: messageOf(error) };
    } finally {
      await quarantine?.discard();
    }
  }

  /**
   * A pack that comes while every git process is taken goes to a file first. The upload of a push moves at the pace of
   * its slowest replica, so one that waited for a process here while others hold processes for it elsewhere could wait
   * for ever.
   */
  async #stageIn(staging: Staging, upload: PackReader): Promise<StageResult> {
    const file = join(staging.quarantine.path, "upload");
    let source: AsyncIterable<Uint8Array> = upload;
    const keep = async (): Promise<void> => {
      await pipeline(upTo(staging.header.packBytesMax, upload), createWriteStream(file));
      source = createReadStream(file, { highWaterMark: 256 * 1024 });
    };
    return this.#deps.limiter.runAfter(staging.id, staging.signal, keep, () => this.#index(staging, upload, source));
  }

  async #index(staging: Staging, upload: PackReader, source: AsyncIterable<Uint8Array>): Promise<StageResult> {
    const { id, directory, quarantine, header, signal } = staging;
    const refusal = await this.#indexPack(staging, source);
    signal.throwIfAborted();
    crashPoint("stage.indexed");
    // Nothing was sent at all: whether that is right, the controller knows.
    if (refusal !== undefined && upload.bytes > 0) return refusal;
    const commits = await this.#checkedCommits(staging);
    const tips = await checkTips(this.#deps.git, { directory, env: quarantine.env, signal }, header.tips, commits);
    crashPoint("stage.checked");
    if (upload.objects > 0 && tips.some((tip) => tip.type !== "missing")) {
      signal.throwIfAborted();
      await quarantine.migrate();
      this.#deps.repositories.touched(id);
    } else {
      // What the tips reach may have been moved there a moment ago by another push.
      await syncDirectory(join(directory, "objects", "pack"));
    }
    const found = header.tips.filter((_tip, index) => tips[index]?.type !== "missing");
    this.#deps.repositories.staged.add(
      id,
      found.map(({ oid }) => oid),
    );
    const { generation } = await this.#deps.repositories.record(id);
    return { kind: "staged", tips, packBytes: upload.bytes, generation };
  }

  /**
   * The tips that are commits of the pack itself. index-pack --strict has found each object there that one in the pack
   * names, in the pack or in the replica; and what a replica has is complete with all that it reaches, since whatever
   * came into it was checked so and nothing leaves it. Only what was damaged once is no such ground to stand on.
   */
  async #checkedCommits({ id, quarantine, header }: Staging): Promise<ReadonlySet<ObjectId>> {
    if (header.tips.length > lookedUpTipsMax || (await this.#deps.repositories.wasDamaged(id))) return new Set();
    const oids = header.tips.map(({ oid }) => oid);
    const found = await Promise.all((await quarantine.packs()).map((pack) => commitsIn(pack, oids)));
    return new Set(found.flatMap((commits) => [...commits]));
  }

  /** Undefined when the pack is good. */
  async #indexPack(staging: Staging, source: AsyncIterable<Uint8Array>): Promise<StageResult | undefined> {
    const { directory, quarantine, header, signal, onProgress } = staging;
    const limits = [`--strict=${strict}`, `--max-input-size=${header.packBytesMax}`];
    const git = await this.#deps.git.run({
      args: ["index-pack", "--stdin", "--fix-thin", "--show-resolving-progress", ...limits],
      directory,
      env: { ...quarantine.env, GIT_ALLOC_LIMIT: objectMemoryMax },
      signal,
      onStderr: (text) => {
        if (text.includes("Resolving deltas")) onProgress(text);
      },
    });
    // The name of the pack, which the quarantine shows as well.
    git.stdout.resume();
    try {
      // A git that ends early has found the pack bad: the rest is of no use.
      await feed(git.stdin, source);
    } catch (error) {
      git.kill();
      await git.exit;
      throw error;
    }
    git.stdin.end();
    const exit = await git.exit;
    if (exit.code === 0) return undefined;
    if (isNodeFailure(exit))
      return { kind: "node-failed", message: `index-pack: ${exit.stderr.trim() || "was killed"}` };
    return { kind: "bad-pack", message: badPackMessage(exit.stderr) };
  }
}

/** Ends with the chunk that exceeds the limit: enough for git to see that it is exceeded. */
async function* upTo(bytesMax: number, upload: PackReader): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of upload) {
    yield chunk;
    if (upload.bytes > bytesMax) return;
  }
}
