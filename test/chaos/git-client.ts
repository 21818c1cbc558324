/** One actor's git: crafts commits, pushes with compare-and-swap, reads, and says what came of each for sure. */
import { join } from "node:path";
import { Terminal } from "../support/terminal.ts";
import { nowMs, type History, type Outcome } from "./history.ts";

/** A ref's change: `to` null deletes it; `from` null is that it is not there. */
export interface Change {
  readonly ref: string;
  readonly from: string | null;
  readonly to: string | null;
}

export interface GitClientOptions {
  readonly name: string;
  /** For its repositories. */
  readonly directory: string;
  readonly history: History;
  /** A clone URL, through one controller or the other. */
  readonly url: (repository: string) => string;
  /** Takes a read that failed for another reason than that nobody answered. */
  readonly onBrokenRead: (detail: string) => void;
  /** A replica of it is damaged just now: a read may fail when it finds the damage. */
  readonly isDamaged: (repository: string) => boolean;
}

const clientLimitMs = 30_000;
const cloneLimitMs = 60_000;
/**
 * A push on a connection that was used before is sent again by curl itself when that breaks off before an answer: it would
 * then refuse itself. On one of its own it is sent once.
 */
const once = "-c http.extraHeader='Connection: close'";
const mismatch = /stale info|reference already exists|reference is missing but expected|but expected [0-9a-f]{40}/;
const unsure = /fetch to see|an error of the server|remote failure/;
/** What a client says when a server cannot be reached, does not answer or refuses for the moment. */
const unavailable =
  /unable to access|RPC failed|early EOF|unexpected disconnect|hung up|Connection reset|Empty reply|Could not resolve|returned error: 5\d\d|killed after|503|try again|timed out/i;

export class GitClient {
  readonly #options: GitClientOptions;
  readonly #terminals = new Map<string, Terminal>();
  #commits = 0;

  constructor(options: GitClientOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  /** A commit that nobody else makes, on top of `parent`; `bytes` of it are a file that git cannot compress. */
  async commit(repository: string, parent: string | null, bytes: number): Promise<string> {
    const terminal = await this.#local(repository);
    this.#commits += 1;
    const message = `${this.name} ${this.#commits}`;
    const entry =
      bytes === 0
        ? ""
        : `printf '100644 blob %s\\tfile\\n' $(head -c ${bytes} /dev/urandom | git hash-object -w --stdin) |`;
    const onTop = parent === null ? "" : `-p ${parent}`;
    return await terminal.ok(`git commit-tree -m '${message}' ${onTop} $(${entry} git mktree)`);
  }

  /** Makes the changes if each ref is what it is expected to be; all or none of them. */
  async push(repository: string, kind: string, changes: readonly Change[]): Promise<Outcome> {
    const terminal = await this.#local(repository);
    const leases = changes.map(({ ref, from }) => `--force-with-lease=${ref}:${from ?? ""}`).join(" ");
    const refspecs = changes.map(({ ref, to }) => `${to ?? ""}:${ref}`).join(" ");
    const atomic = changes.length > 1 ? "--atomic" : "";
    const invoked = nowMs();
    const { code, stdout, stderr } = await terminal.run(
      `git ${once} push --porcelain ${atomic} ${leases} '${this.#options.url(repository)}' ${refspecs} < /dev/null`,
      { limitMs: clientLimitMs },
    );
    const returned = nowMs();
    const outcomes = changes.map(({ ref }) => outcomeOf(ref, code, stdout, stderr));
    for (const [index, { ref, from, to }] of changes.entries()) {
      const outcome = outcomes[index] ?? "unknown";
      this.#options.history.write(repository, {
        process: this.name,
        kind: "write",
        ref,
        expected: from,
        value: to,
        invoked,
        returned,
        outcome,
      });
    }
    const outcome = outcomes[0] ?? "unknown";
    this.#options.history.count(kind, outcome);
    if (outcome === "failed" || outcome === "unknown") this.#note(kind, stdout + stderr);
    return outcome;
  }

  /** All refs, as `git ls-remote` has them; undefined when it failed. */
  async lsRemote(repository: string): Promise<ReadonlyMap<string, string> | undefined> {
    const terminal = await this.#local(repository);
    const script = `git ls-remote '${this.#options.url(repository)}'`;
    return await this.#read(terminal, repository, { kind: "ls-remote", script, prefix: "" });
  }

  /** Fetches the refs below `prefix`, with their objects. */
  async fetch(repository: string, prefix: string): Promise<ReadonlyMap<string, string> | undefined> {
    const terminal = await this.#local(repository);
    const script = `
      git fetch -q --prune --no-tags '${this.#options.url(repository)}' '+${prefix}*:refs/fetched/${prefix}*'
      git for-each-ref --format='%(objectname) %(refname)' 'refs/fetched/${prefix}' | sed 's, refs/fetched/, ,'`;
    return await this.#read(terminal, repository, { kind: "fetch", script, prefix });
  }

  /** Clones everything and checks that it is whole. */
  async clone(repository: string): Promise<void> {
    const terminal = await this.#local(repository);
    const script = `
      rm -rf clone && git clone -q --mirror '${this.#options.url(repository)}' clone
      git -C clone for-each-ref --format='%(objectname) %(refname)'
      git -C clone fsck --connectivity-only --no-dangling --no-progress > fsck 2>&1 || { echo "the clone is broken: $(cat fsck)" >&2; exit 1; }
      rm -rf clone`;
    await this.#read(terminal, repository, { kind: "clone", script, prefix: "" });
  }

  /** Forgets a repository's working copy. */
  async forget(repository: string): Promise<void> {
    const terminal = this.#terminals.get(repository);
    this.#terminals.delete(repository);
    await terminal?.ok("rm -rf ./* ");
  }

  async #read(
    terminal: Terminal,
    repository: string,
    { kind, script, prefix }: { kind: string; script: string; prefix: string },
  ): Promise<ReadonlyMap<string, string> | undefined> {
    const wasDamaged = this.#options.isDamaged(repository);
    const invoked = nowMs();
    const { code, stdout, stderr } = await terminal.run(script, { limitMs: cloneLimitMs });
    const returned = nowMs();
    if (code !== 0) {
      const foundDamage = /possible repository corruption/.test(stderr);
      const excused = foundDamage && (wasDamaged || this.#options.isDamaged(repository));
      const broken = !unavailable.test(stderr) && !excused;
      this.#options.history.count(kind, broken ? "broken" : "failed");
      if (broken) this.#options.onBrokenRead(`${this.name}: ${kind} of ${repository}: ${stderr.trim()}`);
      return undefined;
    }
    const refs = parseRefs(stdout);
    this.#options.history.read(repository, { process: this.name, refs, prefix, invoked, returned });
    this.#options.history.count(kind, "ok");
    return refs;
  }

  /** Why writes fail, in few words, for the summary. */
  #note(kind: string, said: string): void {
    const reason =
      /\((.+)\)\s*$/m.exec(said)?.[1] ?? /^(?:fatal|error): (.*)$/m.exec(said)?.[1] ?? said.trim().slice(-100);
    const short = reason.replaceAll(/'?https?:\S+/g, "URL").replaceAll(/\b\d{4,}\b|[0-9a-f]{40}/g, "N");
    this.#options.history.count(`  ${kind}`, `not ok: ${short}`);
  }

  async #local(repository: string): Promise<Terminal> {
    let terminal = this.#terminals.get(repository);
    if (terminal === undefined) {
      const directory = join(this.#options.directory, this.name, repository);
      terminal = new Terminal(directory);
      await terminal.ok("git init -q --bare . && git mktree < /dev/null > /dev/null");
      this.#terminals.set(repository, terminal);
    }
    return terminal;
  }
}

/** Of one ref, from what `git push --porcelain` said. Unknown unless it is sure. */
export function outcomeOf(ref: string, code: number, stdout: string, stderr: string): Outcome {
  const line = stdout.split("\n").find((text) => text.split("\t")[1]?.endsWith(`:${ref}`));
  if (line !== undefined) {
    const [flag = "", , summary = ""] = line.split("\t");
    // It was there already: nothing was sent.
    if (flag === "=") return "failed";
    if (flag !== "!") return code === 0 || !/^fatal/m.test(stderr) ? "ok" : "unknown";
    if (unsure.test(summary)) return "unknown";
    return mismatch.test(summary) ? "mismatch" : "failed";
  }
  // Of a delete, git itself looks whether there is such a ref.
  if (/unable to delete '.*': remote ref does not exist/.test(stderr)) return "mismatch";
  // Nothing was sent: the first question was not answered.
  if (/unable to access|repository '.*' not found/.test(stderr) && !stderr.includes("RPC failed")) return "failed";
  return "unknown";
}

function parseRefs(text: string): Map<string, string> {
  const refs = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [, oid = "", ref = ""] = /^([0-9a-f]{40})[\t ](refs\/\S+)$/.exec(line) ?? [];
    if (ref !== "" && !ref.endsWith("^{}")) refs.set(ref, oid);
  }
  return refs;
}
