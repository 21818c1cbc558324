/** Runs `git upload-pack` for controllers and for nodes that catch up (stateless smart HTTP, gitprotocol-http). */
import type { Readable } from "node:stream";
import { GitmeshError } from "../base/errors.ts";
import { flushPkt, pktLine } from "../protocol/pkt-line.ts";
import type { Git, GitProcess } from "./git.ts";
import type { Repositories } from "./repositories.ts";

export interface UploadPackDependencies {
  readonly repositories: Repositories;
  readonly git: Git;
}

export interface UploadPackAnswer {
  /** What git said first: there is an answer, so it may be begun. */
  readonly first: Buffer;
  readonly rest: Readable;
  readonly git: GitProcess;
}

export class UploadPack {
  readonly #deps: UploadPackDependencies;

  constructor(deps: UploadPackDependencies) {
    this.#deps = deps;
  }

  /** The advertisement, for git itself on another node. */
  async advertise(id: string, gitProtocol: string | undefined, signal: AbortSignal): Promise<Buffer> {
    const directory = await this.#deps.repositories.open(id);
    const args = ["upload-pack", "--stateless-rpc", "--http-backend-info-refs", "."];
    const output = await this.#deps.git.capture({ args, directory, env: protocolEnvironment(gitProtocol), signal });
    return Buffer.concat([pktLine("# service=git-upload-pack\n"), flushPkt, output]);
  }

  /**
   * One request. Resolves when git has begun to answer. Throws GitmeshError "git-failed" when it ends without a word
   * and with an error, so that the caller may ask another node.
   */
  async serve(
    id: string,
    gitProtocol: string | undefined,
    body: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<UploadPackAnswer> {
    const directory = await this.#deps.repositories.open(id);
    const git = await this.#deps.git.run({
      args: ["upload-pack", "--stateless-rpc", "--strict", "."],
      directory,
      env: protocolEnvironment(gitProtocol),
      signal,
    });
    void feed(git, body);
    const first = await firstChunk(git.stdout);
    if (first === undefined) {
      const exit = await git.exit;
      signal.throwIfAborted();
      if (exit.code !== 0) {
        throw new GitmeshError("git-failed", `upload-pack: ${exit.stderr.trim().slice(0, 300) || "was killed"}`);
      }
    }
    return { first: first ?? Buffer.alloc(0), rest: git.stdout, git };
  }
}

async function feed(git: GitProcess, body: AsyncIterable<Uint8Array>): Promise<void> {
  try {
    for await (const chunk of body) {
      if (git.stdin.write(chunk)) continue;
      const drained = new Promise<void>((resolve) => git.stdin.once("drain", resolve).once("close", resolve));
      await drained;
    }
    git.stdin.end();
  } catch {
    // The request broke off: half of it must not be answered.
    git.kill();
  }
}

/** Leaves the stream where it is, so that the rest can be piped. */
async function firstChunk(stream: Readable): Promise<Buffer | undefined> {
  for (;;) {
    const chunk = stream.read() as Buffer | null;
    if (chunk !== null) return chunk;
    if (stream.readableEnded || stream.destroyed) return undefined;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        for (const event of ["readable", "end", "close", "error"]) stream.off(event, done);
        resolve();
      };
      for (const event of ["readable", "end", "close", "error"]) stream.on(event, done);
    });
  }
}

/** Only what we know: the value comes from a client. */
function protocolEnvironment(gitProtocol: string | undefined): Record<string, string> {
  return gitProtocol !== undefined && /^version=[012]$/.test(gitProtocol) ? { GIT_PROTOCOL: gitProtocol } : {};
}
