/**
 * Indexing once: of a large pack that starts a repository one replica, the push's lead, makes the index. The others keep
 * the bytes meanwhile, take the finished index from it, and check by checksums that it belongs to what they have.
 *
 * Only a pack that needs nothing outside of itself: what such a pack is complete with at the lead it is complete with
 * everywhere (docs/decisions/0011-one-index-for-an-import.md).
 */
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, rename, rm, stat, type FileHandle } from "node:fs/promises";
import { basename, join } from "node:path";
import { Readable } from "node:stream";
import { Agent, request } from "undici";
import { z } from "zod";
import type { Clock } from "../base/clock.ts";
import { firstSecret } from "../base/secret.ts";
import { keepAliveMs, nodePaths } from "../protocol/node-api.ts";
import { JsonLineReader } from "./json-lines.ts";

const packNameSchema = z.string().regex(/^pack-(?:[0-9a-f]{40}|[0-9a-f]{64})$/);
const lineSchema = z.union([
  z.object({ alive: z.literal(true) }),
  /** The bytes of both files follow. null: there is no index to be had. */
  z.object({ pack: packNameSchema.nullable(), idxBytes: z.int().min(0), revBytes: z.int().min(0) }),
]);
type Line = z.infer<typeof lineSchema>;

const nothing: Line = { pack: null, idxBytes: 0, revBytes: 0 };
/** How long an index is offered after it was made; who does not come for it until then makes its own. */
const offeredMs = 60_000;
/** A lead that says nothing for so long is given up. */
const silenceMs = 10_000;
const connectMs = 5000;

/** The indexes that this node makes as a lead. */
export class LeadIndexes {
  readonly #clock: Clock;
  readonly #offers = new Map<string, Promise<string | undefined>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** `pack` resolves with the path of the pack without suffix, once it is there to stay; undefined when there is none. */
  offer(repositoryId: string, pushId: string, pack: Promise<string | undefined>): void {
    const key = `${repositoryId} ${pushId}`;
    const offered = pack.catch(() => undefined);
    this.#offers.set(key, offered);
    void offered.then(() => this.#clock.timer(offeredMs, () => this.#offers.delete(key)));
  }

  /** The answer to nodePaths.stagedIndex: signs of life until the index is there, a line about it, and its bytes. */
  answer(repositoryId: string, pushId: string): Readable {
    return Readable.from(this.#answer(`${repositoryId} ${pushId}`), { objectMode: false });
  }

  async *#answer(key: string): AsyncGenerator<string | Buffer, void, undefined> {
    const offered = this.#offers.get(key) ?? Promise.resolve(undefined);
    const line = (value: Line): string => `${JSON.stringify(value)}\n`;
    for (;;) {
      yield line({ alive: true });
      const cancel = new AbortController();
      const beat = this.#clock.sleep(keepAliveMs, cancel.signal).then(
        () => true,
        () => true,
      );
      const waits = await Promise.race([offered.then(() => false), beat]);
      cancel.abort();
      if (!waits) break;
    }
    const path = await offered;
    if (path === undefined) {
      yield line(nothing);
      return;
    }
    const [idx, rev] = await Promise.all([stat(`${path}.idx`), stat(`${path}.rev`)]);
    yield line({ pack: path.slice(path.lastIndexOf("/") + 1), idxBytes: idx.size, revBytes: rev.size });
    for (const suffix of [".idx", ".rev"]) yield* createReadStream(path + suffix) as AsyncIterable<Buffer>;
  }
}

/** Writes a pack's bytes and computes its checksum on the way. */
export class KeptPack {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #hash: Hash;
  readonly #hashBytes: number;
  #tail: Buffer = Buffer.alloc(0);

  private constructor(path: string, file: FileHandle, objectFormat: "sha1" | "sha256") {
    this.#path = path;
    this.#file = file;
    this.#hash = createHash(objectFormat);
    this.#hashBytes = objectFormat === "sha1" ? 20 : 32;
  }

  static async open(path: string, objectFormat: "sha1" | "sha256"): Promise<KeptPack> {
    return new KeptPack(path, await open(path, "wx", 0o444), objectFormat);
  }

  get path(): string {
    return this.#path;
  }

  async write(chunk: Uint8Array): Promise<void> {
    await this.#file.writeFile(chunk);
    const seen = Buffer.concat([this.#tail, chunk]);
    const end = Math.max(0, seen.length - this.#hashBytes);
    this.#hash.update(seen.subarray(0, end));
    this.#tail = Buffer.from(seen.subarray(end));
  }

  /** Durable when it resolves: with the checksum that the bytes end with, undefined when it is not theirs. */
  async end(): Promise<Buffer | undefined> {
    await this.#file.sync();
    await this.#file.close();
    return this.#hash.digest().equals(this.#tail) ? this.#tail : undefined;
  }

  async close(): Promise<void> {
    await this.#file.close().catch(() => {});
  }
}

export interface LeadSource {
  /** Base URL of the lead's node. */
  readonly url: string;
  readonly repositoryId: string;
  readonly pushId: string;
  /** The setting: the cluster secret. */
  readonly secret: string;
}

/**
 * Makes a kept pack one with the lead's index, in its directory. False when there is no index to be had, or one of
 * something else: then the pack is still where it was kept. Rejects only when `signal` aborts or the disk fails.
 */
export async function takeIndex(
  kept: string,
  checksum: Buffer,
  objectFormat: "sha1" | "sha256",
  source: LeadSource,
  signal: AbortSignal,
): Promise<boolean> {
  const agent = new Agent({ connectTimeout: connectMs, headersTimeout: silenceMs, bodyTimeout: silenceMs });
  const path = join(kept, "..", `pack-${checksum.toString("hex")}`);
  let whole = false;
  try {
    const answer = await request(source.url + nodePaths.stagedIndex(source.repositoryId, source.pushId), {
      dispatcher: agent,
      headers: { authorization: `Bearer ${firstSecret(source.secret)}` },
      signal,
    });
    if (answer.statusCode !== 200) return false;
    const reader = new JsonLineReader(answer.body);
    let line: Line;
    do line = lineSchema.parse(await reader.next());
    while ("alive" in line);
    if (line.pack !== basename(path)) return false;
    const rest = new Bytes(reader.rest());
    for (const [suffix, bytes] of [
      [".idx", line.idxBytes],
      [".rev", line.revBytes],
    ] as const) {
      if (!(await writeChecked(path + suffix, rest, bytes, checksum, objectFormat))) return false;
    }
    await rename(kept, `${path}.pack`);
    whole = true;
    return true;
  } catch (error) {
    signal.throwIfAborted();
    if (isDiskError(error)) throw error;
    return false;
  } finally {
    // What git is to write must not find half of it there.
    if (!whole) for (const suffix of [".idx", ".rev"]) await rm(path + suffix, { force: true });
    await agent.destroy();
  }
}

function isDiskError(error: unknown): boolean {
  return ["ENOSPC", "EIO", "EROFS", "EDQUOT"].includes((error as NodeJS.ErrnoException).code ?? "");
}

/** Index and reverse index end alike: with the checksum of their pack, and their own. Durable when it resolves. */
async function writeChecked(
  path: string,
  source: Bytes,
  bytes: number,
  packChecksum: Buffer,
  objectFormat: "sha1" | "sha256",
): Promise<boolean> {
  const file = await KeptPack.open(path, objectFormat);
  let last: Buffer = Buffer.alloc(0);
  try {
    for await (const chunk of source.take(bytes)) {
      await file.write(chunk);
      last = Buffer.concat([last, chunk]).subarray(-2 * packChecksum.length);
    }
    const own = await file.end();
    return own !== undefined && last.subarray(0, packChecksum.length).equals(packChecksum);
  } finally {
    await file.close();
  }
}

/** A stream in parts of known length. */
class Bytes {
  readonly #source: AsyncIterator<Buffer>;
  #left: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Buffer>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Ends early when the stream does. */
  async *take(bytes: number): AsyncGenerator<Buffer, void, undefined> {
    for (let missing = bytes; missing > 0;) {
      if (this.#left.length === 0) {
        const next = await this.#source.next();
        if (next.done === true) return;
        this.#left = next.value;
      }
      const part = this.#left.subarray(0, missing);
      this.#left = this.#left.subarray(part.length);
      missing -= part.length;
      yield part;
    }
  }
}
