/**
 * A model of a disk under a file system that promises no more than POSIX does: what a file says is durable when the
 * file was fsynced after it was written, and what a directory lists when the directory was. Whatever else was done may
 * have reached the disk before the power was lost, in any order and by half, or not.
 */
import { basename, dirname } from "node:path";
import type { Operation } from "./file-operations.ts";
import { Image, type Entry } from "./image.ts";

/** Something that was done and is not synced yet. */
export interface Change {
  readonly kind: "data" | "entry";
  /** The file or the directory entry, relative to the disk's root. */
  readonly path: string;
  /** When it was done. */
  readonly ended: number;
}

/** How much of an unsynced change reached the disk: 0 to 1. An entry is there from 0.5 on. */
export type Survival = (change: Change) => number;

interface FileChange extends Change {
  readonly kind: "data";
  readonly offset: number;
  /** undefined: the file ends at `offset`. */
  readonly data: Buffer | undefined;
}

interface EntryChange extends Change {
  readonly kind: "entry";
  readonly entries: readonly (readonly [string, Inode | undefined])[];
  /** A rename leaves its old directory only when it has reached the new one. */
  readonly after: EntryChange | undefined;
}

type Inode =
  | { readonly kind: "file"; readonly live: Content; readonly synced: Content; pending: FileChange[] }
  | { readonly kind: "symlink"; readonly target: string }
  | Directory;

interface Directory {
  readonly kind: "directory";
  readonly live: Map<string, Inode>;
  readonly synced: Map<string, Inode>;
  pending: EntryChange[];
}

const sectorBytes = 512;

export class Disk {
  /** Is there from the beginning. */
  readonly #root = newDirectory();

  /** `operation` must be the next one. */
  do(operation: Operation): void {
    switch (operation.kind) {
      case "open":
        return this.#open(operation.path, operation);
      case "write":
        return this.#write(operation.path, operation.offset, operation.data, operation.ended);
      case "copy": {
        const { bytes } = this.#file(operation.from).live;
        const data = Buffer.from(bytes.subarray(operation.fromOffset, operation.fromOffset + operation.length));
        return this.#write(operation.path, operation.offset, data, operation.ended);
      }
      case "truncate":
        return this.#truncate(operation.path, operation.size, operation.ended);
      case "mkdir":
        return void this.#enter(operation.path, newDirectory(), operation.ended);
      case "symlink":
        return void this.#enter(operation.path, { kind: "symlink", target: operation.target }, operation.ended);
      case "link":
        return void this.#enter(operation.path, this.#inode(operation.from), operation.ended);
      case "unlink":
      case "rmdir":
        return void this.#enter(operation.path, undefined, operation.ended);
      case "rename":
        return this.#rename(operation.from, operation.path, operation.ended);
      case "sync":
        return this.#sync(operation.path, operation.began);
      case "sent":
    }
  }

  /** What is left after a power loss now. */
  image(survival: Survival): Image {
    const found = new Map<string, Entry>();
    collect(this.#root, "", survival, found);
    return new Image(found);
  }

  #open(path: string, { truncate, ended }: { readonly truncate: boolean; readonly ended: number }): void {
    const inode = this.#directory(dirname(path)).live.get(basename(path));
    if (inode === undefined) {
      const file: Inode = { kind: "file", live: new Content(), synced: new Content(), pending: [] };
      this.#enter(path, file, ended);
    } else if (truncate && inode.kind === "file" && inode.live.bytes.length > 0) this.#truncate(path, 0, ended);
  }

  #write(path: string, offset: number | undefined, data: Buffer, ended: number): void {
    const file = this.#file(path);
    const change: FileChange = { kind: "data", path, ended, offset: offset ?? file.live.bytes.length, data };
    file.live.do(change, data.length);
    file.pending.push(change);
  }

  #truncate(path: string, size: number, ended: number): void {
    const file = this.#file(path);
    const change: FileChange = { kind: "data", path, ended, offset: size, data: undefined };
    file.live.do(change, 0);
    file.pending.push(change);
  }

  #enter(path: string, inode: Inode | undefined, ended: number, after?: EntryChange): EntryChange {
    const directory = this.#directory(dirname(path));
    const name = basename(path);
    if (inode === undefined) directory.live.delete(name);
    else directory.live.set(name, inode);
    const change: EntryChange = { kind: "entry", path, ended, entries: [[name, inode]], after };
    directory.pending.push(change);
    return change;
  }

  #rename(from: string, to: string, ended: number): void {
    const inode = this.#inode(from);
    if (dirname(from) !== dirname(to)) {
      this.#enter(from, undefined, ended, this.#enter(to, inode, ended));
      return;
    }
    const directory = this.#directory(dirname(from));
    directory.live.delete(basename(from));
    directory.live.set(basename(to), inode);
    const entries = [
      [basename(from), undefined],
      [basename(to), inode],
    ] as const;
    directory.pending.push({ kind: "entry", path: to, ended, entries, after: undefined });
  }

  /** Makes durable what was done before `began`. */
  #sync(path: string, began: number): void {
    const inode = this.#inode(path);
    switch (inode.kind) {
      case "file":
        for (const change of inode.pending) {
          if (change.ended < began) inode.synced.do(change, change.data?.length ?? 0);
        }
        inode.pending = inode.pending.filter((change) => change.ended >= began);
        break;
      case "directory":
        for (const change of inode.pending) if (change.ended < began) enterAll(inode.synced, change);
        inode.pending = inode.pending.filter((change) => change.ended >= began);
        break;
      case "symlink":
        throw new Error(`fsync of a symbolic link: ${path}`);
    }
  }

  #inode(path: string): Inode {
    let inode: Inode = this.#root;
    for (const name of path.split("/").filter((part) => part !== "" && part !== ".")) {
      const next: Inode | undefined = inode.kind === "directory" ? inode.live.get(name) : undefined;
      if (next === undefined) throw new Error(`the recording has no ${path}`);
      inode = next;
    }
    return inode;
  }

  #directory(path: string): Directory {
    const inode = this.#inode(path);
    if (inode.kind !== "directory") throw new Error(`${path} is no directory in the recording`);
    return inode;
  }

  #file(path: string): Extract<Inode, { kind: "file" }> {
    const inode = this.#inode(path);
    if (inode.kind !== "file") throw new Error(`${path} is no file in the recording`);
    return inode;
  }
}

function newDirectory(): Directory {
  return { kind: "directory", live: new Map(), synced: new Map(), pending: [] };
}

/** A file's bytes, in a buffer with room for more. */
class Content {
  #buffer: Buffer;
  #length: number;

  constructor(bytes: Uint8Array = Buffer.alloc(0)) {
    this.#buffer = Buffer.from(bytes);
    this.#length = bytes.length;
  }

  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  /** Does the first `length` bytes of a write, or cuts off. Holes are zeros. */
  do({ offset, data }: FileChange, length: number): void {
    const end = data === undefined ? offset : Math.max(this.#length, offset + length);
    if (end > this.#buffer.length) this.#buffer = Buffer.concat([this.#buffer, Buffer.alloc(end * 2)]);
    if (end < this.#length) this.#buffer.fill(0, end, this.#length);
    this.#length = end;
    data?.copy(this.#buffer, offset, 0, length);
  }
}

function enterAll(entries: Map<string, Inode>, change: EntryChange): void {
  for (const [name, inode] of change.entries) {
    if (inode === undefined) entries.delete(name);
    else entries.set(name, inode);
  }
}

function collect(directory: Directory, above: string, survival: Survival, found: Map<string, Entry>): void {
  const entries = new Map(directory.synced);
  const survives = (change: EntryChange): boolean =>
    (change.after === undefined || survives(change.after)) && survival(change) >= 0.5;
  for (const change of directory.pending) if (survives(change)) enterAll(entries, change);
  for (const [name, inode] of entries) {
    const path = `${above}${name}`;
    switch (inode.kind) {
      case "directory":
        found.set(path, "directory");
        collect(inode, `${path}/`, survival, found);
        break;
      case "symlink":
        found.set(path, { target: inode.target });
        break;
      case "file":
        found.set(path, contentOf(inode, survival));
        break;
    }
  }
}

/** A write that did not reach the disk as a whole may have reached it in sectors. */
function contentOf(file: Extract<Inode, { kind: "file" }>, survival: Survival): Buffer {
  const content = new Content(file.synced.bytes);
  for (const change of file.pending) {
    const share = survival(change);
    const length = change.data?.length ?? 0;
    if (share >= 1 || (change.data === undefined && share >= 0.5)) content.do(change, length);
    else if (change.data !== undefined && share > 0) {
      const bytes = Math.floor((length * share) / sectorBytes) * sectorBytes;
      if (bytes > 0) content.do(change, bytes);
    }
  }
  return content.bytes;
}
