/**
 * Staging: a push's pack becomes durable objects of a replica, or leaves no trace.
 *
 * The pack is indexed in a quarantine object directory, checked (its objects, and that all that the new values reach
 * is there), moved into the object store and made durable. No ref changes here.
 */
import { randomBytes } from "node:crypto";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../base/errors.ts";
import type { StageHeader, StageResult } from "../protocol/node-api.ts";
import { checkTips } from "./connectivity.ts";
import { syncDirectory } from "./durable-file.ts";
import type { Git } from "./git.ts";
import type { GitLimiter } from "./git-limiter.ts";
import { badPackMessage, isNodeFailure } from "./index-pack-failure.ts";
import type { Repositories } from "./repositories.ts";

export interface StageDependencies {
  readonly repositories: Repositories;
  readonly git: Git;
  readonly limiter: GitLimiter;
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

const packHeaderBytes = 12;

export class Stager {
  readonly #deps: StageDependencies;

  constructor(deps: StageDependencies) {
    this.#deps = deps;
  }

  /**
   * Stages a pack. `onProgress` gets git's progress of resolving deltas. Rejects when `signal` aborts or the pack's
   * stream breaks (the controller is gone), and when the replica is not here; all else is a result.
   */
  async stage(
    id: string,
    header: StageHeader,
    pack: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
    onProgress: (text: string) => void,
  ): Promise<StageResult> {
    const directory = await this.#deps.repositories.open(id);
    return this.#deps.limiter.run(id, signal, async () => {
      const quarantine = join("objects", `tmp_objdir-incoming-${randomBytes(8).toString("hex")}`);
      try {
        await mkdir(join(directory, quarantine, "pack"), { recursive: true });
        return await this.#stageIn(id, directory, quarantine, header, pack, signal, onProgress);
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof BrokenUpload) throw error;
        return { kind: "node-failed", message: messageOf(error) };
      } finally {
        await rm(join(directory, quarantine), { recursive: true, force: true });
      }
    });
  }

  async #stageIn(
    id: string,
    directory: string,
    quarantine: string,
    header: StageHeader,
    pack: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
    onProgress: (text: string) => void,
  ): Promise<StageResult> {
    const env = {
      GIT_OBJECT_DIRECTORY: quarantine,
      GIT_ALTERNATE_OBJECT_DIRECTORIES: "objects",
      GIT_QUARANTINE_PATH: quarantine,
    };
    const indexed = await this.#indexPack(directory, env, header, pack, signal, onProgress);
    if (indexed.kind !== "indexed") return indexed;
    signal.throwIfAborted();
    const tips = await checkTips(this.#deps.git, { directory, env, signal }, header.tips);
    if (indexed.objects > 0 && tips.some((tip) => tip.type !== "missing")) {
      await migrate(join(directory, quarantine, "pack"), join(directory, "objects", "pack"));
      this.#deps.repositories.touched(id);
    }
    return { kind: "staged", tips, packBytes: indexed.bytes };
  }

  async #indexPack(
    directory: string,
    env: Record<string, string>,
    header: StageHeader,
    pack: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
    onProgress: (text: string) => void,
  ): Promise<Exclude<StageResult, { kind: "staged" }> | { kind: "indexed"; bytes: number; objects: number }> {
    const strict = toleratedFindings.map((finding) => `${finding}=ignore`).join(",");
    const git = await this.#deps.git.run({
      args: [
        "index-pack",
        "--stdin",
        "--fix-thin",
        "--show-resolving-progress",
        `--strict=${strict}`,
        `--max-input-size=${header.packBytesMax}`,
      ],
      directory,
      env,
      signal,
      onStderr: (text) => {
        if (text.includes("Resolving deltas")) onProgress(text);
      },
    });
    const ended = git.exit.then(() => true as const);
    // What git says is the name of the pack, which the quarantine shows as well.
    git.stdout.resume();
    let bytes = 0;
    let head = Buffer.alloc(0);
    try {
      for await (const chunk of pack) {
        bytes += chunk.length;
        if (head.length < packHeaderBytes) head = Buffer.concat([head, chunk.subarray(0, packHeaderBytes)]);
        if (git.stdin.write(chunk)) continue;
        const drained = new Promise<false>((resolve) => git.stdin.once("drain", () => resolve(false)));
        // git that ended early has found the pack bad: the rest is of no use.
        if (await Promise.race([ended, drained])) break;
      }
    } catch (error) {
      git.kill();
      await git.exit;
      throw new BrokenUpload(messageOf(error));
    }
    git.stdin.end();
    const exit = await git.exit;
    signal.throwIfAborted();
    // Nothing was sent: the controller knows whether that is right.
    if (bytes === 0) return { kind: "indexed", bytes, objects: 0 };
    if (exit.code === 0) {
      return { kind: "indexed", bytes, objects: head.length >= packHeaderBytes ? head.readUInt32BE(8) : 0 };
    }
    if (isNodeFailure(exit))
      return { kind: "node-failed", message: `index-pack: ${exit.stderr.trim() || "was killed"}` };
    return { kind: "bad-pack", message: badPackMessage(exit.stderr) };
  }
}

/** The controller's upload broke off. */
class BrokenUpload extends Error {}

/** Moves packs into the object store in git's order (an index makes its pack visible), durably. */
async function migrate(from: string, to: string): Promise<void> {
  const order = [".pack", ".rev", ".idx"];
  const files = (await readdir(from)).sort((one, other) => rank(one) - rank(other));
  function rank(name: string): number {
    return order.findIndex((suffix) => name.endsWith(suffix));
  }
  // Packs are named by their content: one that is there already is the same, and is replaced by itself.
  for (const name of files) if (name.startsWith("pack-")) await rename(join(from, name), join(to, name));
  await syncDirectory(to);
}
