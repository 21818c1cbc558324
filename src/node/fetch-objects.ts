/** Fetches objects by id from another node's replica, with git's own client. */
import { firstSecret } from "../base/secret.ts";
import { GitmeshError } from "../base/errors.ts";
import type { ObjectId } from "../protocol/ref-name.ts";
import type { Git, GitRun } from "./git.ts";
import { gitMessage } from "./index-pack-failure.ts";

export interface ObjectSource {
  /** Base URL of a git repository (nodePaths.git). */
  readonly url: string;
  /** The setting: the cluster secret. */
  readonly secret: string;
}

/** The source lacks, or cannot read, what it was asked for. */
export class SourceFailure extends GitmeshError {}

/** As upload-pack.c on the source says it, and git passes it on. */
const sourceFailed = /remote error: upload-pack: not our ref|possible repository corruption on the remote side/;

/** Throws GitmeshError "git-failed", or SourceFailure, when not all of them could be had. What they reach comes along. */
export async function fetchObjects(
  git: Git,
  place: Pick<GitRun, "directory" | "signal" | "env">,
  source: ObjectSource,
  oids: readonly ObjectId[],
  onProgress: (text: string) => void,
): Promise<void> {
  if (!/^https?:\/\/\S+$/.test(source.url)) throw new GitmeshError("bad-request", "the source is no HTTP URL");
  const quiet = ["--no-write-fetch-head", "--no-tags", "--no-auto-gc", "--no-show-forced-updates"];
  const run = await git.attempt(
    {
      ...place,
      args: ["fetch", "--progress", "--stdin", ...quiet, "--end-of-options", source.url],
      config: {
        // In the environment, not among the arguments, where every process could read it.
        "http.extraHeader": `Authorization: Bearer ${firstSecret(source.secret)}`,
        "http.followRedirects": "false",
        "protocol.http.allow": "always",
        "protocol.https.allow": "always",
        "protocol.version": "2",
        // They were checked when they were pushed.
        "fetch.fsckObjects": "false",
        "http.lowSpeedLimit": "1",
        "http.lowSpeedTime": "60",
      },
      onStderr: onProgress,
    },
    `${oids.join("\n")}\n`,
  );
  if (run.code === 0) return;
  const message = `fetch: ${gitMessage(run.stderr) || "was killed"}`;
  throw sourceFailed.test(run.stderr)
    ? new SourceFailure("git-failed", message)
    : new GitmeshError("git-failed", message);
}
