/** Repositories of several shapes, as streams for `git fast-import`: the same bytes on each machine. Pure. */
import { createHash } from "node:crypto";

export interface Shape {
  readonly name: string;
  /** What is compared with which target: "large" are those of 100 to 300 MB. */
  readonly size: "small" | "medium" | "large";
  readonly stream: () => Iterable<string | Buffer>;
}

const committer = "Bench <bench@localhost>";
const firstSecond = 1_767_268_800;

interface TextShape {
  readonly files: number;
  readonly linesPerFile: number;
  readonly commits: number;
  readonly filesPerCommit: number;
  /** Of each changed file, at most; 8 unless said otherwise. */
  readonly linesPerChange?: number;
  /** Branches spread over the history, besides master. */
  readonly branches?: number;
  /** Annotated tags. */
  readonly tags?: number;
  /** Lightweight tags. */
  readonly lightTags?: number;
}

export const shapes = {
  tiny: text("tiny", "small", { files: 10, linesPerFile: 40, commits: 20, filesPerCommit: 1 }),
  refs300: text("refs300", "small", {
    files: 60,
    linesPerFile: 40,
    commits: 400,
    filesPerCommit: 2,
    branches: 200,
    tags: 100,
  }),
  refs50k: text("refs50k", "small", {
    files: 60,
    linesPerFile: 40,
    commits: 2000,
    filesPerCommit: 1,
    branches: 25_000,
    lightTags: 25_000,
  }),
  ten: text("ten", "medium", {
    files: 2200,
    linesPerFile: 120,
    commits: 1000,
    filesPerCommit: 6,
    branches: 10,
    tags: 10,
  }),
  deep: text("deep", "medium", {
    files: 400,
    linesPerFile: 60,
    commits: 30_000,
    filesPerCommit: 1,
    branches: 20,
    tags: 50,
  }),
  files: text("files", "large", {
    files: 16_000,
    linesPerFile: 240,
    commits: 4000,
    filesPerCommit: 16,
    linesPerChange: 24,
    branches: 20,
    tags: 50,
  }),
  /** A working tree of some megabytes only. */
  long: text("long", "large", {
    files: 3000,
    linesPerFile: 120,
    commits: 12_000,
    filesPerCommit: 16,
    linesPerChange: 24,
    branches: 20,
    tags: 50,
  }),
  blobs: { name: "blobs", size: "large", stream: blobs } satisfies Shape as Shape,
} as const;

function text(name: string, size: Shape["size"], shape: TextShape): Shape {
  return { name, size, stream: () => history(name, shape) };
}

/** Files of text with the entropy of source code; each commit changes some lines of some files. */
function* history(name: string, shape: TextShape): Generator<string> {
  const {
    files,
    linesPerFile,
    commits,
    filesPerCommit,
    linesPerChange = 8,
    branches = 0,
    tags = 0,
    lightTags = 0,
  } = shape;
  const random = new Random(name);
  const words = Array.from({ length: 600 }, () =>
    random
      .next()
      .toString(36)
      .slice(0, random.below(8) + 2),
  );
  const line = (): string => {
    let made = `${random.next().toString(36)} `;
    for (let count = random.below(7) + 2; count > 0; count -= 1) made += `${words[random.below(words.length)]} `;
    return made;
  };
  const contents = Array.from({ length: files }, () => Array.from({ length: linesPerFile }, line));
  const entry = (index: number): string => {
    const content = `${contents[index]?.join("\n") ?? ""}\n`;
    return `M 100644 inline d${index % 97}/e${index % 11}/f${index}\ndata ${content.length}\n${content}\n`;
  };
  yield commitHead(1, "the first");
  for (let index = 0; index < files; index += 1) yield entry(index);
  for (let number = 2; number <= commits; number += 1) {
    yield `${commitHead(number, `change ${number}`)}from :${number - 1}\n`;
    const changed = new Set(Array.from({ length: filesPerCommit }, () => random.below(files)));
    for (const index of changed) {
      const lines = contents[index] ?? [];
      for (let count = random.below(linesPerChange) + 1; count > 0; count -= 1)
        lines[random.below(lines.length)] = line();
      yield entry(index);
    }
  }
  const commitOf = (index: number): number => 1 + ((index * 7) % commits);
  for (let index = 0; index < branches; index += 1) yield reset(`heads/b/${index}`, commitOf(index));
  for (let index = 0; index < lightTags; index += 1) yield reset(`tags/l/${index}`, commitOf(index));
  for (let index = 0; index < tags; index += 1) {
    yield `tag t/${index}\nfrom :${commitOf(index)}\ntagger ${committer} ${firstSecond} +0000\n${data(`tag ${index}`)}`;
  }
}

/** Blobs that do not compress, 2 to 12 MB each. */
function* blobs(): Generator<string | Buffer> {
  const random = new Random("blobs");
  for (let number = 1; number <= 22; number += 1) {
    yield `${commitHead(number, `blob ${number}`)}${number === 1 ? "" : `from :${number - 1}\n`}`;
    const megabytes = 2 + random.below(11);
    yield `M 100644 inline blob-${number}\ndata ${megabytes * 1024 * 1024}\n`;
    for (let count = megabytes * 1024; count > 0; count -= 1) yield random.kilobyte();
    yield "\n";
  }
}

function commitHead(number: number, message: string): string {
  return `commit refs/heads/master\nmark :${number}\ncommitter ${committer} ${firstSecond + number} +0000\n${data(message)}`;
}

function reset(ref: string, commit: number): string {
  return `reset refs/${ref}\nfrom :${commit}\n\n`;
}

function data(content: string): string {
  return `data ${content.length}\n${content}\n`;
}

/**
 * Commits for pushes, each of which changes a file of its own. "chain": each on top of the one before; "fan": each on
 * top of `base`. Their marks are 1, 2, 3, ...
 */
export function* newCommits(base: string, count: number, kind: "chain" | "fan"): Generator<string> {
  for (let index = 0; index < count; index += 1) {
    const from = kind === "fan" || index === 0 ? base : `:${index}`;
    yield `commit refs/heads/new\nmark :${index + 1}\ncommitter ${committer} ${firstSecond + 9e6 + index} +0000\n`;
    yield `${data(`push ${index}`)}from ${from}\nM 100644 inline pushed/${index % 50}\n${data(`content ${index}\n`)}`;
  }
}

/** Numbers from a seed: mulberry32. */
class Random {
  #state: number;

  constructor(seed: string) {
    this.#state = createHash("sha256").update(seed).digest().readUInt32LE();
  }

  /** 32 bits. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  below(limit: number): number {
    return this.next() % limit;
  }

  kilobyte(): Buffer {
    const bytes = Buffer.alloc(1024);
    for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(this.next(), at);
    return bytes;
  }
}
