/** What a disk holds at a moment: its files and directories, to be looked at or written out. */
import { createHash } from "node:crypto";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";

/** "directory", what a symbolic link points to, or a file's content. */
export type Entry = "directory" | { readonly target: string } | Buffer;

export class Image {
  /** By path; what is in a directory follows it. Paths are byte strings. */
  readonly #entries: ReadonlyMap<string, Entry>;

  constructor(entries: ReadonlyMap<string, Entry>) {
    this.#entries = entries;
  }

  has(path: string): boolean {
    return this.#entries.has(path);
  }

  /** Undefined when there is no such file. */
  text(path: string): string | undefined {
    const entry = this.#entries.get(path);
    return Buffer.isBuffer(entry) ? entry.toString("utf8") : undefined;
  }

  /** Names in a directory. */
  list(path: string): string[] {
    const prefix = `${path}/`;
    const below = [...this.#entries.keys()].filter((name) => name.startsWith(prefix));
    return below.map((name) => name.slice(prefix.length)).filter((name) => !name.includes("/"));
  }

  /** Of the file, or of all in the directory; images with the same one are the same there. */
  digest(path: string): string {
    const hash = createHash("sha1");
    for (const [name, entry] of this.#below(path)) {
      const content = Buffer.isBuffer(entry) ? entry : Buffer.from(JSON.stringify(entry));
      hash.update(`${name}\0${content.length}\0`, "latin1").update(content);
    }
    return hash.digest("hex");
  }

  /** Writes a file, or a directory with all that is in it. The directories above it are made. */
  write(path: string, target: string): void {
    const above = path.split("/").slice(0, -1).join("/");
    mkdirSync(`${target}/${above}`, { recursive: true });
    for (const [name, entry] of this.#below(path)) {
      const place = Buffer.from(`${target}/${name}`, "latin1");
      if (entry === "directory") mkdirSync(place, { recursive: true });
      else if (Buffer.isBuffer(entry)) writeFileSync(place, entry);
      else symlinkSync(entry.target, place);
    }
  }

  *#below(path: string): Generator<[string, Entry], void, undefined> {
    const prefix = `${path}/`;
    for (const [name, entry] of this.#entries) if (name === path || name.startsWith(prefix)) yield [name, entry];
  }
}
