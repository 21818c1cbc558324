/**
 * The repositories that are served, made once and kept in the temporary directory: the source that clients push from,
 * and what git's own receive-pack made of it, as pushed and after `git gc`.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { basename, join, resolve } from "node:path";
import type { GitClient } from "./git-client.ts";
import { newCommits, type Shape } from "./shapes.ts";

export interface Source {
  readonly name: string;
  /** "large" are those of 100 MB and more. */
  readonly size: Shape["size"];
  /** Bare: packed, with packed refs. */
  readonly directory: string;
  readonly plain: string;
  readonly kept: string;
  /** As in "refs/heads/main". */
  readonly defaultBranch: string;
}

const mediumMaxBytes = 50e6;
export const allRefs = ["refs/heads/*:refs/heads/*", "refs/tags/*:refs/tags/*"] as const;

export class Repositories {
  readonly #client: GitClient;
  readonly #say: (line: string) => void;
  readonly #directory = join(tmpdir(), `gitmesh-bench-cache-${userInfo().uid}`);

  constructor(client: GitClient, say: (line: string) => void) {
    this.#client = client;
    this.#say = say;
    mkdirSync(this.#directory, { recursive: true });
  }

  async generated(shape: Shape): Promise<Source> {
    const recipe = readFileSync(join(import.meta.dirname, "shapes.ts"));
    const key = createHash("sha256").update(recipe).digest("hex").slice(0, 8);
    return await this.#cached(shape.name, key, shape.size, async (directory) => {
      const git = (...args: string[]) => this.#client.git(args, { cwd: directory });
      await git("init", "-q", "--bare", "--initial-branch=master", ".");
      await this.#client.git(["-c", "core.bigFileThreshold=1m", "fast-import", "--quiet"], {
        cwd: directory,
        input: asynchronous(shape.stream()),
      });
      // fast-import's own deltas are poor.
      if (shape.name !== "blobs") await git("repack", "-q", "-a", "-d", "-f");
    });
  }

  /** Branches and tags of any repository. */
  async given(urlOrPath: string): Promise<Source> {
    const url = existsSync(urlOrPath) ? resolve(urlOrPath) : urlOrPath;
    const refs = await this.#client.git(["ls-remote", "--symref", url]);
    const key = createHash("sha256").update(`${url}\n${refs}`).digest("hex").slice(0, 8);
    const branch = /^ref: (refs\/heads\/\S+)\tHEAD$/m.exec(refs)?.[1] ?? "refs/heads/master";
    const name = basename(url)
      .replace(/\.git$/, "")
      .replaceAll(/[^\w-]/g, "-");
    return await this.#cached(name, key, undefined, async (directory) => {
      const git = (...args: string[]) => this.#client.git(args, { cwd: directory });
      await git("init", "-q", "--bare", ".");
      await git("symbolic-ref", "HEAD", branch);
      await git("fetch", "-q", url, ...allRefs);
      await git("repack", "-q", "-a", "-d");
    });
  }

  async #cached(
    name: string,
    key: string,
    size: Shape["size"] | undefined,
    make: (directory: string) => Promise<void>,
  ): Promise<Source> {
    const directory = join(this.#directory, `${name}-${key}`);
    if (!existsSync(directory)) {
      this.#say(`making the repository ${name} (kept in ${directory}) ...`);
      const building = `${directory}.${process.pid}`;
      try {
        const source = join(building, "source.git");
        mkdirSync(source, { recursive: true });
        await make(source);
        await this.#client.git(["pack-refs", "--all"], { cwd: source });
        await this.#makeServed(building);
        // Another run may have made it meanwhile.
        if (!existsSync(directory)) renameSync(building, directory);
      } finally {
        rmSync(building, { recursive: true, force: true });
      }
    }
    const source = join(directory, "source.git");
    const packed = await this.#client.run("du", ["-sb", join(source, "objects")]);
    return {
      name,
      size: size ?? (Number.parseInt(packed, 10) > mediumMaxBytes ? "large" : "medium"),
      directory: source,
      plain: join(directory, "plain.git"),
      kept: join(directory, "kept.git"),
      defaultBranch: await this.#client.git(["symbolic-ref", "HEAD"], { cwd: source }),
    };
  }

  /** What a git server has after a push, with and without `git gc` afterwards. */
  async #makeServed(directory: string): Promise<void> {
    const git = (cwd: string, ...args: string[]) => this.#client.git(args, { cwd: join(directory, cwd) });
    for (const name of ["plain.git", "kept.git"]) mkdirSync(join(directory, name));
    await git("plain.git", "init", "-q", "--bare", ".");
    await git("plain.git", "config", "http.receivepack", "true");
    await git("plain.git", "symbolic-ref", "HEAD", await git("source.git", "symbolic-ref", "HEAD"));
    await git("source.git", "push", "-q", join(directory, "plain.git"), ...allRefs);
    await this.#client.run("cp", ["-r", "--reflink=auto", "plain.git/.", "kept.git"], { cwd: directory });
    await git("kept.git", "gc", "-q");
    const packs = await git("kept.git", "count-objects", "-v");
    if (!/^packs: 1$/m.test(packs)) throw new Error(`git gc left more than one pack: ${packs}`);
  }

  /** A repository to push from: it borrows the source's objects, and has `count` new commits (see newCommits). */
  async commits(
    source: Source,
    directory: string,
    count: number,
    kind: "chain" | "fan",
  ): Promise<{ readonly directory: string; readonly ids: readonly string[] }> {
    await this.borrowing(source, directory);
    const base = await this.#client.git(["rev-parse", source.defaultBranch], { cwd: source.directory });
    const input = [...newCommits(base, count, kind)].join("");
    await this.#client.git(["fast-import", "--quiet", "--force", "--export-marks=marks"], { cwd: directory, input });
    const marks = readFileSync(join(directory, "marks"), "utf8").trim().split("\n");
    const ids = new Map(marks.map((line) => line.split(" ") as [string, string]));
    return { directory, ids: Array.from({ length: count }, (_, index) => ids.get(`:${index + 1}`) ?? "") };
  }

  /** An empty bare repository that finds the source's objects. */
  async borrowing(source: Source, directory: string): Promise<void> {
    await this.#client.git(["init", "-q", "--bare", directory]);
    await this.#client.run("sh", [
      "-c",
      'echo "$0/objects" > "$1/objects/info/alternates"',
      source.directory,
      directory,
    ]);
  }

  /** A client's repository that has all that the source has. */
  async copy(source: Source, directory: string): Promise<void> {
    await this.#client.run("cp", ["-rl", source.directory, directory]);
    // What git rewrites in place must not be shared.
    await this.#client.run("sh", ["-c", "cp config c && mv c config && cp packed-refs p && mv p packed-refs"], {
      cwd: directory,
    });
  }
}

async function* asynchronous(pieces: Iterable<string | Buffer>): AsyncGenerator<string | Buffer> {
  const enough = 64 * 1024;
  let held: Buffer[] = [];
  let bytes = 0;
  for (const piece of pieces) {
    const buffer = Buffer.from(piece);
    held.push(buffer);
    bytes += buffer.length;
    if (bytes < enough) continue;
    yield Buffer.concat(held);
    held = [];
    bytes = 0;
  }
  yield Buffer.concat(held);
}

/** Bytes of a directory's files as they are on disk. */
export async function diskBytes(client: GitClient, ...directories: readonly string[]): Promise<number> {
  const present = directories.filter((directory) => statSync(directory, { throwIfNoEntry: false }) !== undefined);
  if (present.length === 0) return 0;
  const listed = await client.run("du", ["-s", "--block-size=1", ...present]);
  return listed.split("\n").reduce((sum, line) => sum + Number.parseInt(line, 10), 0);
}
