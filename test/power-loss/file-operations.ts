/** From system calls to what they did to files below one directory. Throws on one that it cannot follow. */
import { join, relative } from "node:path";
import { parseStrace, unhex, type Syscall } from "./strace-log.ts";

/** Paths are byte strings (latin1), relative to the directory. */
export type Operation = { readonly began: number; readonly ended: number } & (
  | { readonly kind: "open"; readonly path: string; readonly truncate: boolean }
  /** `offset` undefined: at the end. */
  | { readonly kind: "write"; readonly path: string; readonly offset: number | undefined; readonly data: Buffer }
  | {
      readonly kind: "copy";
      readonly from: string;
      readonly fromOffset: number;
      readonly path: string;
      readonly offset: number | undefined;
      readonly length: number;
    }
  | { readonly kind: "truncate"; readonly path: string; readonly size: number }
  | { readonly kind: "rename" | "link"; readonly from: string; readonly path: string }
  | { readonly kind: "symlink"; readonly target: string; readonly path: string }
  | { readonly kind: "unlink" | "mkdir" | "rmdir" | "sync"; readonly path: string }
  /** What went out through a socket or pipe. */
  | { readonly kind: "sent"; readonly data: Buffer }
);

/** An open file: what `dup` and `fork` share. */
interface Description {
  position: number;
  readonly append: boolean;
}

/** Threads that share it are one process. */
interface Process {
  cwd: string;
  readonly files: Map<number, Description>;
}

export interface Followed {
  /** Files below it are followed. */
  readonly root: string;
  /** But not these, by their path below it: what was opened before the recording began, and logs. */
  readonly except: RegExp;
  /** Where the recorded program started. */
  readonly cwd: string;
}

export function fileOperations(log: string, followed: Followed): Operation[] {
  return new Follower(followed).follow(parseStrace(log));
}

const string = String.raw`"((?:\\x[0-9a-f]{2})*)"`;
const descriptor = String.raw`(-?\d+|AT_FDCWD)(?:<((?:\\x[0-9a-f]{2})*)>)?(\(deleted\))?`;
const patterns = {
  strings: new RegExp(string, "g"),
  at: new RegExp(`${descriptor}, ${string}`, "g"),
  file: new RegExp(`^${descriptor}`),
  files: new RegExp(descriptor, "g"),
};

class Follower {
  readonly #followed: Followed;
  readonly #first: Process;
  readonly #processes = new Map<number, Process>();
  readonly #operations: Operation[] = [];

  constructor(followed: Followed) {
    this.#followed = followed;
    this.#first = { cwd: followed.cwd, files: new Map() };
  }

  follow(calls: readonly Syscall[]): Operation[] {
    // A child's first calls may end before the call that made it does.
    const births = calls.filter(({ name, result }) => /^(?:clone3?|v?fork)$/.test(name) && result > 0);
    births.sort((one, other) => one.began - other.began);
    for (const call of calls) {
      while (births[0] !== undefined && births[0].began <= call.began) this.#bear(births.shift() as Syscall);
      if (call.result >= 0) this.#call(call);
    }
    return this.#operations;
  }

  #bear({ thread, args, result }: Syscall): void {
    const parent = this.#process(thread);
    const shared = args.includes("CLONE_FILES") && args.includes("CLONE_FS");
    this.#processes.set(result, shared ? parent : { cwd: parent.cwd, files: new Map(parent.files) });
  }

  #process(thread: number): Process {
    const known = this.#processes.get(thread) ?? this.#first;
    this.#processes.set(thread, known);
    return known;
  }

  #call(call: Syscall): void {
    const process = this.#process(call.thread);
    const { name, args, result } = call;
    const files = this.#process(call.thread).files;
    const fd = Number(/^(?:0x[0-9a-f]+|\d+)/.exec(args)?.[0] ?? "-1");
    switch (name) {
      case "open":
      case "openat":
      case "creat":
        files.set(result, { position: 0, append: args.includes("O_APPEND") });
        if (name === "creat" || /O_CREAT|O_TRUNC/.test(args)) {
          if (args.includes("O_TMPFILE")) throw new Error(`cannot follow ${name}(${args})`);
          this.#add(call, { kind: "open", truncate: /O_TRUNC/.test(args) || name === "creat" }, this.#path(call));
        }
        break;
      case "dup":
      case "dup2":
      case "dup3":
      case "fcntl": {
        if (name === "fcntl" && !args.includes("F_DUPFD")) break;
        const description = files.get(fd);
        if (description !== undefined) files.set(result, description);
        break;
      }
      case "lseek":
      case "read": {
        const description = files.get(fd);
        if (description === undefined) break;
        description.position = name === "lseek" ? result : description.position + result;
        break;
      }
      case "chdir":
        process.cwd = this.#absolute(process.cwd, unhexed(args));
        break;
      case "fchdir":
        process.cwd = latin1(patterns.file.exec(args)?.[2]);
        break;
      case "mkdir":
      case "mkdirat":
        this.#add(call, { kind: "mkdir" }, this.#path(call));
        break;
      case "rmdir":
        this.#add(call, { kind: "rmdir" }, this.#path(call));
        break;
      case "unlink":
      case "unlinkat":
        this.#add(call, { kind: args.includes("AT_REMOVEDIR") ? "rmdir" : "unlink" }, this.#path(call));
        break;
      case "rename":
      case "renameat":
      case "renameat2":
      case "link":
      case "linkat": {
        if (/RENAME_(?:EXCHANGE|WHITEOUT)/.test(args)) throw new Error(`cannot follow ${name}(${args})`);
        const [from, to] = this.#twoPaths(call);
        this.#add(call, { kind: name.startsWith("link") ? "link" : "rename", from }, to);
        break;
      }
      case "symlink":
      case "symlinkat":
        this.#add(call, { kind: "symlink", target: unhexed(args) }, this.#lastPath(call));
        break;
      case "truncate":
        this.#add(call, { kind: "truncate", size: lastNumber(args) }, this.#path(call));
        break;
      case "ftruncate":
        this.#add(call, { kind: "truncate", size: lastNumber(args) }, this.#fileOf(args));
        break;
      case "fsync":
      case "fdatasync":
        this.#add(call, { kind: "sync" }, this.#fileOf(args));
        break;
      case "write":
      case "writev":
        this.#write(call, files.get(fd));
        break;
      case "pwrite64":
        this.#add(call, { kind: "write", offset: lastNumber(args), data: dataOf(call) }, this.#fileOf(args));
        break;
      case "copy_file_range":
        this.#copy(call, files);
        break;
      default:
        this.#refuseUnfollowed(call);
    }
  }

  #write(call: Syscall, description: Description | undefined): void {
    const data = dataOf(call);
    const path = this.#fileOf(call.args);
    if (path === undefined) {
      if (!/^\d+<\\x2f/.test(call.args)) this.#operations.push({ ...whenOf(call), kind: "sent", data });
      return;
    }
    if (description === undefined) throw new Error(`writes to ${path}, opened by nobody`);
    this.#add(call, { kind: "write", offset: description.append ? undefined : description.position, data }, path);
    description.position += call.result;
  }

  #copy(call: Syscall, files: Map<number, Description>): void {
    const [from, to] = [...call.args.matchAll(patterns.files)].filter(({ 2: path }) => path !== undefined);
    const [fromOffset, toOffset] = [...call.args.matchAll(/>(?:\(deleted\))?, (NULL|\[\d+\])/g)].map(
      ({ 1: text }) => text,
    );
    const source = files.get(Number(from?.[1]));
    const target = files.get(Number(to?.[1]));
    if (source === undefined || target === undefined) throw new Error(`cannot follow copy_file_range(${call.args})`);
    const at = (text: string | undefined, { position }: Description): number =>
      text === undefined || text === "NULL" ? position : Number(text.slice(1, -1));
    const path = this.#inside(latin1(to?.[2]));
    const origin = this.#inside(latin1(from?.[2]));
    if (path !== undefined) {
      if (origin === undefined) throw new Error(`copies from outside to ${path}`);
      const copy = { from: origin, fromOffset: at(fromOffset, source), offset: at(toOffset, target) };
      this.#add(call, { kind: "copy", ...copy, length: call.result }, path);
    }
    if (fromOffset === "NULL") source.position += call.result;
    if (toOffset === "NULL") target.position += call.result;
  }

  /** What changes a file in a way that is not followed must not go unnoticed. */
  #refuseUnfollowed({ name, args }: Syscall): void {
    const changes =
      /^(?:pwritev2?|fallocate|sendfile|splice|sync|syncfs)$/.test(name) ||
      (name === "ioctl" && args.includes("FICLONE")) ||
      (name === "mmap" && args.includes("MAP_SHARED") && args.includes("PROT_WRITE"));
    if (!changes) return;
    const inside = [...args.matchAll(patterns.files)].flatMap(({ 2: path }) => this.#inside(latin1(path)) ?? []);
    // SQLite's shared memory says nothing that its files do not.
    if (inside.some((path) => !path.endsWith("-shm"))) throw new Error(`cannot follow ${name}(${args.slice(0, 500)})`);
  }

  #add(call: Syscall, operation: Record<string, unknown>, path: string | undefined): void {
    if (path === undefined) return;
    this.#operations.push({ ...whenOf(call), ...operation, path } as Operation);
  }

  /** The one path of a call, with or without a descriptor of a directory before it. */
  #path(call: Syscall): string | undefined {
    const { cwd } = this.#process(call.thread);
    const [at] = call.args.matchAll(patterns.at);
    const from = at?.[2] === undefined ? cwd : latin1(at[2]);
    return this.#inside(this.#absolute(from, unhexed(call.args)));
  }

  #twoPaths(call: Syscall): [string, string | undefined] {
    const { cwd } = this.#process(call.thread);
    const at = [...call.args.matchAll(patterns.at)].map(({ 2: path }) => (path === undefined ? cwd : latin1(path)));
    const [from, to] = [...call.args.matchAll(patterns.strings)].map(({ 1: text }, index) =>
      this.#inside(this.#absolute(at[index] ?? cwd, latin1(text))),
    );
    if ((from === undefined) !== (to === undefined)) throw new Error(`${call.name} across the directory's border`);
    return [from ?? "", to];
  }

  #lastPath(call: Syscall): string | undefined {
    const { cwd } = this.#process(call.thread);
    const [at] = call.args.matchAll(patterns.at);
    const text = [...call.args.matchAll(patterns.strings)].at(-1)?.[1];
    return this.#inside(this.#absolute(at?.[2] === undefined ? cwd : latin1(at[2]), latin1(text)));
  }

  /** The path of the descriptor that is the first argument; undefined outside, and of files without a name. */
  #fileOf(args: string): string | undefined {
    const found = patterns.file.exec(args);
    if (found?.[2] === undefined || found[3] !== undefined) return undefined;
    const path = latin1(found[2]);
    return path.endsWith(" (deleted)") ? undefined : this.#inside(path);
  }

  #absolute(from: string, path: string): string {
    return path.startsWith("/") ? join(path) : join(from, path);
  }

  #inside(path: string): string | undefined {
    if (!path.startsWith("/")) return undefined;
    const found = relative(this.#followed.root, path);
    if (found === "") return ".";
    const outside = found === ".." || found.startsWith("../");
    return outside || this.#followed.except.test(found) ? undefined : found;
  }
}

function whenOf({ began, ended }: Syscall): { began: number; ended: number } {
  return { began, ended };
}

function latin1(hex: string | undefined): string {
  return unhex(hex ?? "").toString("latin1");
}

function unhexed(args: string): string {
  const [first] = args.matchAll(patterns.strings);
  return latin1(first?.[1]);
}

function lastNumber(args: string): number {
  return Number(/(\d+)$/.exec(args)?.[1]);
}

/** What a write wrote: of what it was given, as much as it says. */
function dataOf({ args, result }: Syscall): Buffer {
  const parts = [...args.matchAll(patterns.strings)].map(({ 1: text }) => unhex(text ?? ""));
  return Buffer.concat(parts).subarray(0, result);
}
