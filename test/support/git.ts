/** Repositories of particular shapes, made quickly through `git fast-import`, and what git says about one. */
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Terminal } from "./terminal.ts";

const author = "Ada Author <ada@example.org> 1767268800 +0000";

export interface Shape {
  readonly commits: number;
  /** Branches b/0, b/1, ... besides master, spread over the history. */
  readonly branches?: number;
  /** Annotated tags t/0, t/1, ... */
  readonly tags?: number;
  /** Mark of what makes this history differ from others. */
  readonly salt?: string;
}

/** Makes the bare repository `name` in the terminal's directory, with a history of one small file a commit. */
export async function makeHistory(terminal: Terminal, name: string, shape: Shape): Promise<void> {
  const { commits, branches = 0, tags = 0, salt = "" } = shape;
  const lines: string[] = [];
  for (let index = 1; index <= commits; index += 1) {
    const text = `${salt} line ${index}\n`;
    const message = `commit ${index}\n`;
    lines.push(
      "commit refs/heads/master",
      `mark :${index}`,
      `committer ${author}`,
      `data ${message.length}\n${message}`,
      ...(index === 1 ? [] : [`from :${index - 1}`]),
      `M 100644 inline d${index % 40}/f${index % 1000}`,
      `data ${text.length}\n${text}`,
    );
  }
  for (let index = 0; index < branches; index += 1) {
    lines.push(`reset refs/heads/b/${index}`, `from :${1 + ((index * 7) % commits)}`, "");
  }
  for (let index = 0; index < tags; index += 1) {
    const message = `tag ${index}\n`;
    lines.push(
      `tag t/${index}`,
      `from :${1 + ((index * 11) % commits)}`,
      `tagger ${author}`,
      `data ${message.length}\n${message}`,
    );
  }
  await terminal.ok(`git init -q --bare ${name}`);
  await terminal.in(name).ok("git fast-import --quiet --done", { input: `${lines.join("\n")}\ndone\n` });
}

/** Refs as lines "oid name", sorted by name, of a repository on disk. */
export async function refsOnDisk(terminal: Terminal, gitDirectory: string): Promise<string> {
  return await terminal.ok(
    `git --git-dir='${gitDirectory}' for-each-ref --format='%(objectname) %(refname)' | LC_ALL=C sort -k2`,
  );
}

/** The same of a remote, as `git ls-remote` has them. */
export async function refsOfRemote(terminal: Terminal, url: string): Promise<string> {
  return await terminal.ok(
    `git ls-remote '${url}' | { grep -v -e '\\^{}$' -e 'HEAD$' || true; } | tr '\\t' ' ' | LC_ALL=C sort -k2`,
  );
}

/** Writes a file of random bytes, which git cannot compress. */
export function writeRandomFile(terminal: Terminal, path: string, bytes: number): void {
  const file = join(terminal.directory, path);
  writeFileSync(file, randomBytes(bytes));
}
