/** The machine's git as the judge of what this directory writes and reads. For tests only. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RefSet } from "../advertisement.ts";

/** The settings that repository servers give their git, as far as they show in what it announces. */
const serverConfig = ["uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant", "receive.advertisePushOptions"];

/** A temporary directory with repositories in it; disposing removes it. */
export class GitOracle implements Disposable {
  readonly directory: string = mkdtempSync(join(tmpdir(), "gitmesh-protocol-"));

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** Runs git in the directory, or in one below it, and returns what it prints. Throws when it fails. */
  run(
    args: readonly string[],
    options: { in?: string; input?: string | Uint8Array; gitProtocol?: string } = {},
  ): Buffer {
    const { PATH } = process.env;
    return execFileSync("git", args, {
      cwd: join(this.directory, options.in ?? "."),
      input: options.input ?? "",
      stdio: ["pipe", "pipe", "pipe"],
      maxBuffer: 256 * 1024 * 1024,
      env: {
        PATH,
        HOME: this.directory,
        LC_ALL: "C",
        GIT_CONFIG_NOSYSTEM: "1",
        GIT_AUTHOR_NAME: "A U Thor",
        GIT_AUTHOR_EMAIL: "author@example.com",
        GIT_AUTHOR_DATE: "1700000000 +0000",
        GIT_COMMITTER_NAME: "C O Mitter",
        GIT_COMMITTER_EMAIL: "committer@example.com",
        GIT_COMMITTER_DATE: "1700000000 +0000",
        ...(options.gitProtocol === undefined ? {} : { GIT_PROTOCOL: options.gitProtocol }),
      },
    });
  }

  /** Runs a server program on the repository as a repository server would. */
  serve(
    program: "upload-pack" | "receive-pack",
    flag: string,
    name: string,
    gitProtocol: string,
    input: Uint8Array = Buffer.alloc(0),
  ): Buffer {
    const config = serverConfig.flatMap((setting) => ["-c", `${setting}=true`]);
    return this.run([...config, program, flag, name], { input, gitProtocol });
  }

  /** An empty bare repository. */
  init(name: string, objectFormat: "sha1" | "sha256" = "sha1", defaultBranch = "master"): void {
    this.run(["init", "-q", "--bare", `--object-format=${objectFormat}`, `--initial-branch=${defaultBranch}`, name]);
  }

  /** A commit without parents on an empty tree; returns its id. */
  commit(name: string, message: string): string {
    const tree = this.#line(["mktree"], name);
    return this.#line(["commit-tree", "-m", message, tree], name);
  }

  /** An annotated tag of an object; returns its id. */
  tag(name: string, of: string, type: "commit" | "tag"): string {
    const text = `object ${of}\ntype ${type}\ntag t\ntagger T <t@example.com> 1700000000 +0000\n\nt\n`;
    return this.#line(["mktag"], name, text);
  }

  /** Makes refs; names are byte strings. */
  createRefs(name: string, refs: readonly (readonly [refName: string, oid: string])[]): void {
    const input = refs.map(([refName, oid]) => `create ${refName}\0${oid}\0`).join("");
    this.run(["update-ref", "--stdin", "-z"], { in: name, input: Buffer.from(input, "latin1") });
  }

  /** The repository's refs as git lists them. */
  refSet(name: string, objectFormat: "sha1" | "sha256" = "sha1"): RefSet {
    const peeled = new Map<string, string>();
    const refs: { name: string; oid: string }[] = [];
    const defaultBranch = this.#line(["symbolic-ref", "HEAD"], name);
    const format = "%(refname) %(objectname)";
    const some = this.run(["for-each-ref", "--count=1", `--format=${format}`], { in: name }).length > 0;
    // show-ref fails where there are none. Its "^{}" lines follow a tag of a tag to the end.
    for (const line of some
      ? this.run(["show-ref", "-d"], { in: name }).toString("latin1").trimEnd().split("\n")
      : []) {
      const space = line.indexOf(" ");
      const refName = line.slice(space + 1);
      if (refName.endsWith("^{}")) peeled.set(refName.slice(0, -3), line.slice(0, space));
      else refs.push({ name: refName, oid: line.slice(0, space) });
    }
    return { objectFormat, defaultBranch, refs: refs.map((ref) => ({ ...ref, peeled: peeled.get(ref.name) })) };
  }

  #line(args: readonly string[], name: string, input = ""): string {
    return this.run(args, { in: name, input }).toString("latin1").trimEnd();
  }
}

/** A repository with branches, a tag of a tag, notes, other refs, and names that no text has. */
export function sampleRepository(oracle: GitOracle, name: string, objectFormat: "sha1" | "sha256" = "sha1"): RefSet {
  oracle.init(name, objectFormat);
  const commit = oracle.commit(name, "one");
  const other = oracle.commit(name, "two");
  const tag = oracle.tag(name, commit, "commit");
  oracle.createRefs(name, [
    ["refs/heads/master", commit],
    ["refs/heads/master-2", other],
    ["refs/heads/a/b/c", other],
    ["refs/heads/a.b", commit],
    ["refs/heads/a-b", commit],
    ["refs/heads/\xff\xfe\x80", commit],
    ["refs/heads/\xc3\xa4", other],
    ["refs/heads/Upper", other],
    ["refs/tags/light", commit],
    ["refs/tags/v1", tag],
    ["refs/tags/v1.0", oracle.tag(name, tag, "tag")],
    ["refs/notes/commits", commit],
    ["refs/changes/01/1/1", other],
  ]);
  return oracle.refSet(name, objectFormat);
}
