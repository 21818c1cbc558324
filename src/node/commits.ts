/** What people are told of commits: author, date, subject. */
import type { FairLimiter } from "../base/fair-limiter.ts";
import type { CommitSummary } from "../protocol/node-api.ts";
import type { ObjectId } from "../protocol/ref-name.ts";
import type { Git } from "./git.ts";
import type { Repositories } from "./repositories.ts";

export interface CommitsDependencies {
  readonly repositories: Repositories;
  readonly git: Git;
  readonly limiter: FairLimiter;
}

const fieldCharactersMax = 500;
/** Cut by git itself: one subject may be as long as a push may be. Shorter ones are filled up with spaces. */
const cut = `%<(${fieldCharactersMax},trunc)`;
const fields = ["%H", `${cut}%an`, `${cut}%ae`, "%at", `${cut}%s`];

export class Commits {
  readonly #deps: CommitsDependencies;

  constructor(deps: CommitsDependencies) {
    this.#deps = deps;
  }

  /** In the order asked for; what is missing, or no commit, is left out. Throws "replica-not-found" and "git-failed". */
  async read(id: string, oids: readonly ObjectId[], signal: AbortSignal): Promise<readonly CommitSummary[]> {
    const { repositories, git, limiter } = this.#deps;
    if (oids.length === 0) return [];
    const directory = await repositories.open(id);
    const format = `--format=${fields.join("%x00")}`;
    const args = ["log", "-z", "--no-walk=unsorted", "--ignore-missing", "--no-mailmap", format, "--stdin"];
    const output = await limiter.run(id, signal, () =>
      git.capture({ args, directory, signal }, `${oids.join("\n")}\n`),
    );
    return parse(output.toString("utf8"));
  }
}

function parse(text: string): CommitSummary[] {
  const values = text.split("\0");
  const commits: CommitSummary[] = [];
  for (let at = 0; at + fields.length <= values.length; at += fields.length) {
    const [oid = "", author = "", email = "", authored = "", subject = ""] = values.slice(at, at + fields.length);
    commits.push({
      oid,
      author: author.trimEnd(),
      email: email.trimEnd(),
      // A commit may have any date; one that is no number is none.
      authoredS: Number.isSafeInteger(Number(authored)) ? Number(authored) : 0,
      subject: subject.trimEnd(),
    });
  }
  return commits;
}
