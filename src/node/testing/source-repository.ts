/** A repository of a test: makes commits and the packs of pushes. */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { searchPath } from "../../base/search-path.ts";

const environment = {
  PATH: searchPath,
  HOME: "/nonexistent",
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_AUTHOR_NAME: "T",
  GIT_AUTHOR_EMAIL: "t@localhost",
  GIT_COMMITTER_NAME: "T",
  GIT_COMMITTER_EMAIL: "t@localhost",
};

export function git(cwd: string, args: readonly string[], input?: string | Buffer): Buffer {
  return execFileSync("git", args, {
    cwd,
    input,
    env: environment,
    stdio: ["pipe", "pipe", "ignore"],
    maxBuffer: 1024 ** 3,
  });
}

export class SourceRepository {
  readonly directory: string;

  constructor(directory: string, objectFormat: "sha1" | "sha256" = "sha1") {
    this.directory = directory;
    mkdirSync(directory, { recursive: true });
    this.text("init", "-q", "-b", "master", `--object-format=${objectFormat}`);
  }

  text(...args: string[]): string {
    return git(this.directory, args).toString().trim();
  }

  /** Adds a file and commits it; the commit's id. */
  commit(path: string, content: string | Buffer = path): string {
    mkdirSync(dirname(join(this.directory, path)), { recursive: true });
    writeFileSync(join(this.directory, path), content);
    this.text("add", path);
    this.text("commit", "-q", "-m", path);
    return this.text("rev-parse", "HEAD");
  }

  /** An object as it is given, checked by nobody. */
  object(type: string, content: string | Buffer): string {
    return git(this.directory, ["hash-object", "-t", type, "-w", "--literally", "--stdin"], content).toString().trim();
  }

  /** What `git push` would send for these revisions, as in "X ^Y". */
  pack(...revisions: string[]): Buffer {
    return git(this.directory, ["pack-objects", "--stdout", "--revs", "--thin", "-q"], revisions.join("\n"));
  }

  /** Exactly these objects, whether or not that is complete. */
  packOf(...oids: string[]): Buffer {
    return git(this.directory, ["pack-objects", "--stdout", "-q"], oids.join("\n"));
  }
}
