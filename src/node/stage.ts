/**
 * Staging: a push's pack becomes durable objects of a replica, or leaves no trace.
 *
 * The pack is indexed in a quarantine, checked (its objects, and that all that the new values reach is there), moved
 * into the object store and made durable. No ref changes here.
 */
import { createReadStream, createWriteStream } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Clock } from "../base/clock.ts";
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
import { KeptPack, LeadIndexes, takeIndex } from "./lead-index.ts";
import { canBeReadBack, typesIn, type ObjectType } from "./pack-index.ts";
import { PackReader } from "./pack-reader.ts";
import { Quarantine } from "./quarantine.ts";
import type { Repositories } from "./repositories.ts";

export interface StageDependencies {
  readonly repositories: Repositories;
  readonly git: Git;
  readonly limiter: FairLimiter;
  /** The setting: other nodes are asked with it. */
  readonly secret: string;
  readonly clock: Clock;
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
  /** Of StagedTips, from before the copy was opened. */
  readonly moment: number;
  /** Gives the others the index of the pack at this path, without suffix. */
  readonly offer: (pack: string) => void;
  /** The pack was found to need nothing outside of itself. */
  selfContained?: boolean;
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
/** index-pack's exit status for a good pack that is not self-contained, when it is asked. */
const notSelfContained = 1;
/** To index so much takes less time than to ask another node for the index. */
const smallPackBytes = 1024 * 1024;
const readBytes = 256 * 1024;
const sha1HexLength = 40;
/** No object that needs more memory than this is taken: what a pack declares is the client's word. */
const objectMemoryMax = "2g";

export class Stager {
  readonly #deps: StageDependencies;
  readonly leadIndexes: LeadIndexes;

  constructor(deps: StageDependencies) {
    this.#deps = deps;
    this.leadIndexes = new LeadIndexes(deps.clock);
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
    const { moment } = this.#deps.repositories.staged;
    const directory = await this.#deps.repositories.open(id);
    const upload = new PackReader(pack);
    let quarantine: Quarantine | undefined;
    const offered = Promise.withResolvers<string | undefined>();
    if (header.leads === true) this.leadIndexes.offer(id, header.pushId, offered.promise);
    try {
      quarantine = await Quarantine.open(directory);
      crashPoint("stage.quarantine-made");
      const staging: Staging = {
        id,
        directory,
        quarantine,
        header,
        signal,
        onProgress,
        moment,
        offer: offered.resolve,
      };
      if (header.leadUrl !== undefined) return await this.#stageByLead(staging, upload, header.leadUrl);
      return await this.#stageIn(staging, upload);
    } catch (error) {
      signal.throwIfAborted();
      if (upload.brokeOff) throw error;
      if (error instanceof GitmeshError && error.code === "busy") return { kind: "busy", message: error.message };
      return { kind: "node-failed", message: messageOf(error) };
    } finally {
      offered.resolve(undefined);
      await quarantine?.discard();
    }
  }

  /**
   * A pack that comes while every git process is taken goes to a file first. The upload of a push moves at the pace of
   * its slowest replica, so one that waited for a process here while others hold processes for it elsewhere could wait
   * for ever.
   */
  async #stageIn(staging: Staging, upload: PackReader, pack: AsyncIterable<Uint8Array> = upload): Promise<StageResult> {
    const file = join(staging.quarantine.path, "upload");
    let source = pack;
    const keep = async (): Promise<void> => {
      await pipeline(upTo(staging.header.packBytesMax, pack), createWriteStream(file));
      source = createReadStream(file, { highWaterMark: readBytes });
    };
    return this.#deps.limiter.runAfter(staging.id, staging.signal, keep, () => this.#index(staging, upload, source));
  }

  /** Keeps a large pack and takes the lead's index of it; what is small, or has no index there, is indexed here. */
  async #stageByLead(staging: Staging, upload: PackReader, leadUrl: string): Promise<StageResult> {
    const { id, quarantine, header, signal } = staging;
    const chunks = upTo(header.packBytesMax, upload);
    const begin: Uint8Array[] = [];
    let bytes = 0;
    for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) {
      begin.push(next.value);
      bytes += next.value.length;
      if (bytes > smallPackBytes) break;
    }
    if (bytes <= smallPackBytes) return this.#stageIn(staging, upload, Readable.from(begin));
    const objectFormat = header.tips[0]?.oid.length === sha1HexLength ? "sha1" : "sha256";
    const kept = await KeptPack.open(join(quarantine.path, "pack", "tmp_pack_kept"), objectFormat);
    let checksum: Buffer | undefined;
    try {
      for (const chunk of begin) await kept.write(chunk);
      for await (const chunk of chunks) await kept.write(chunk);
      checksum = await kept.end();
    } finally {
      await kept.close();
    }
    crashPoint("stage.pack-kept");
    const lead = { url: leadUrl, repositoryId: id, pushId: header.pushId, secret: this.#deps.secret };
    const taken = checksum !== undefined && (await takeIndex(kept.path, checksum, objectFormat, lead, signal));
    return this.#deps.limiter.run(id, signal, () =>
      taken
        ? this.#finish(staging, upload)
        : this.#index(staging, upload, createReadStream(kept.path, { highWaterMark: readBytes })),
    );
  }

  async #index(staging: Staging, upload: PackReader, source: AsyncIterable<Uint8Array>): Promise<StageResult> {
    const refusal = await this.#indexPack(staging, source);
    staging.signal.throwIfAborted();
    // Nothing was sent at all: whether that is right, the controller knows.
    if (refusal !== undefined && upload.bytes > 0) return refusal;
    return this.#finish(staging, upload);
  }

  /** The pack is indexed in the quarantine. */
  async #finish(staging: Staging, upload: PackReader): Promise<StageResult> {
    const { id, directory, quarantine, header, signal } = staging;
    crashPoint("stage.indexed");
    const known = await this.#typesInPack(staging);
    const tips = await checkTips(this.#deps.git, { directory, env: quarantine.env, signal }, header.tips, known);
    crashPoint("stage.checked");
    if (upload.objects > 0 && tips.some((tip) => tip.type !== "missing")) {
      signal.throwIfAborted();
      const names = await quarantine.migrate();
      this.#deps.repositories.touched(id);
      if (staging.selfContained === true && names.length === 1) {
        staging.offer(join(directory, "objects", "pack", names[0] ?? ""));
      }
    } else {
      // What the tips reach may have been moved there a moment ago by another push.
      await syncDirectory(join(directory, "objects", "pack"));
    }
    const found = header.tips.filter((_tip, index) => tips[index]?.type !== "missing");
    this.#deps.repositories.staged.add(
      id,
      found.map(({ oid }) => oid),
      staging.moment,
    );
    const { generation } = await this.#deps.repositories.record(id);
    return { kind: "staged", tips, packBytes: upload.bytes, generation };
  }

  /**
   * The types of the tips that are in the pack itself. index-pack --strict has found each object there that one in the
   * pack names, in the pack or in the replica; and what a replica has is complete with all that it reaches, since
   * whatever came into it was checked so and nothing leaves it. Only what was damaged once is no such ground to stand on.
   */
  async #typesInPack({ id, quarantine, header }: Staging): Promise<ReadonlyMap<ObjectId, ObjectType>> {
    if (await this.#deps.repositories.wasDamaged(id)) return new Map();
    const oids = header.tips.map(({ oid }) => oid);
    const packs = await quarantine.packs();
    for (const pack of packs) if (!(await canBeReadBack(pack, (oids[0]?.length ?? 0) / 2))) return new Map();
    const found = await Promise.all(packs.map((pack) => typesIn(pack, oids)));
    return new Map(found.flatMap((types) => [...types]));
  }

  /** Undefined when the pack is good. */
  async #indexPack(staging: Staging, source: AsyncIterable<Uint8Array>): Promise<StageResult | undefined> {
    const { directory, quarantine, header, signal, onProgress } = staging;
    const checks = [`--strict=${strict}`, ...(header.leads === true ? ["--check-self-contained-and-connected"] : [])];
    const git = await this.#deps.git.run({
      args: [
        "index-pack",
        "--stdin",
        "--fix-thin",
        "--show-resolving-progress",
        ...checks,
        `--max-input-size=${header.packBytesMax}`,
      ],
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
    staging.selfContained = exit.code === 0 && header.leads === true;
    // The pack is good, and names objects that are not in it.
    const isOpen = header.leads === true && exit.code === notSelfContained;
    if (exit.code === 0 || isOpen) return undefined;
    if (isNodeFailure(exit))
      return { kind: "node-failed", message: `index-pack: ${exit.stderr.trim() || "was killed"}` };
    return { kind: "bad-pack", message: badPackMessage(exit.stderr) };
  }
}

/** Ends with the chunk that exceeds the limit: enough for git to see that it is exceeded. */
async function* upTo(bytesMax: number, pack: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  let bytes = 0;
  for await (const chunk of pack) {
    yield chunk;
    bytes += chunk.length;
    if (bytes > bytesMax) return;
  }
}
