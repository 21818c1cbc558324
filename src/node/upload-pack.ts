/** Runs `git upload-pack` for controllers and for nodes that catch up (stateless smart HTTP, gitprotocol-http). */
import { Readable } from "node:stream";
import { GitmeshError, messageOf } from "../base/errors.ts";
import { flushPkt, pktLine } from "../protocol/pkt-line.ts";
import type { Git, GitExit, GitProcess } from "./git.ts";
import { feed } from "./git-streams.ts";
import { gitMessage } from "./index-pack-failure.ts";
import type { Repositories } from "./repositories.ts";

export interface UploadPackDependencies {
  readonly repositories: Repositories;
  readonly git: Git;
}

export class UploadPack {
  readonly #deps: UploadPackDependencies;

  constructor(deps: UploadPackDependencies) {
    this.#deps = deps;
  }

  /** Of the replica's refs; they may be newer. */
  async generation(id: string): Promise<number> {
    return (await this.#deps.repositories.record(id)).generation;
  }

  /** The advertisement, for git itself on another node. */
  async advertise(id: string, gitProtocol: string | undefined, signal: AbortSignal): Promise<Buffer> {
    const directory = await this.#deps.repositories.open(id);
    const args = ["upload-pack", "--stateless-rpc", "--http-backend-info-refs", "."];
    const output = await this.#deps.git.capture({ args, directory, env: protocolEnvironment(gitProtocol), signal });
    return Buffer.concat([pktLine("# service=git-upload-pack\n"), flushPkt, output]);
  }

  /**
   * One request. Resolves with the answer when git has begun it. Throws GitmeshError "git-failed" when git fails
   * without a word, so that the caller may ask another node. What git itself says of a bad request is an answer.
   */
  async serve(id: string, gitProtocol: string | undefined, body: Readable, signal: AbortSignal): Promise<Readable> {
    const directory = await this.#deps.repositories.open(id);
    const env = protocolEnvironment(gitProtocol);
    const git = await this.#deps.git.run({
      args: ["upload-pack", "--stateless-rpc", "--strict", "."],
      directory,
      env,
      signal,
    });
    // A request that breaks off must not be answered by half. Of one that git refuses early the rest is read all the
    // same: who sends it is to find the answer, not a connection that is cut off.
    let brokenOff: unknown;
    feed(git.stdin, body.iterator({ destroyOnReturn: false })).then(
      () => body.resume(),
      (error: unknown) => {
        brokenOff = error;
        git.kill();
      },
    );
    const output = git.stdout[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    const first = await output.next();
    if (first.done !== true) {
      const onFailure = (): void => this.#deps.repositories.suspect(id);
      return Readable.from(answerOf(git, first.value, output, onFailure), { objectMode: false });
    }
    const exit = await git.exit;
    signal.throwIfAborted();
    if (brokenOff !== undefined) throw new GitmeshError("bad-request", `it broke off: ${messageOf(brokenOff)}`);
    if (exit.code === 0) return Readable.from([]);
    // A request that no replica would answer is answered, in git's own words and protocol.
    if (isRefusal(exit)) {
      const reason = gitMessage(exit.stderr).replace(/^git upload-pack: /, "");
      return Readable.from([pktLine(`ERR upload-pack: ${reason}\n`)]);
    }
    if (exit.code !== null) this.#deps.repositories.suspect(id);
    throw new GitmeshError("git-failed", `upload-pack: ${exit.stderr.trim().slice(0, 300) || "was killed"}`);
  }
}

/** What git says; it breaks off where git was killed, since what was sent until then must not look like a whole answer. */
async function* answerOf(
  git: GitProcess,
  first: Buffer,
  output: AsyncIterator<Buffer>,
  onFailure: () => void,
): AsyncGenerator<Buffer, void, undefined> {
  try {
    yield first;
    for (let next = await output.next(); next.done !== true; next = await output.next()) yield next.value;
  } finally {
    git.stdout.destroy();
  }
  const exit = await git.exit;
  if (exit.code !== null && exit.code !== 0 && !isRefusal(exit)) onFailure();
  if (exit.code === null) throw new Error(`upload-pack: ${exit.stderr.trim() || `killed by ${exit.signal ?? "us"}`}`);
}

/** Whether git refused the request itself, so that no other replica would do better (upload-pack.c, shallow.c). */
function isRefusal(exit: GitExit): boolean {
  const words = [
    "protocol error",
    // git says this in its answer too, which is lost when it ends while it is still written to.
    "not our ref",
    "invalid filter-spec",
    "unexpected line",
    "deepen-not",
    "deepen-since",
    "no commits selected for shallow requests",
  ];
  return exit.code === 128 && words.some((word) => gitMessage(exit.stderr).includes(word));
}

/** Only what we know: the value comes from a client. */
function protocolEnvironment(gitProtocol: string | undefined): Record<string, string> {
  return gitProtocol !== undefined && /^version=[012]$/.test(gitProtocol) ? { GIT_PROTOCOL: gitProtocol } : {};
}
