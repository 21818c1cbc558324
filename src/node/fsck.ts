/** `git fsck` of a replica: whether every object that its refs reach is there and is what its name says. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { GitmeshError } from "../base/errors.ts";
import type { Git } from "./git.ts";

const problemsMax = 5;
const problemCharactersMax = 300;

/**
 * Resolves with what is wrong, a few lines of it; empty when the replica is sound. What was pushed as it is (an odd date
 * or file mode, which git calls errors too) is no damage. Throws GitmeshError "git-failed" when git was killed.
 */
export async function fsck(git: Git, directory: string, signal: AbortSignal): Promise<string[]> {
  const misplaced = await misplacedFiles(directory);
  if (misplaced.length > 0) return misplaced;
  const problems = await runFsck(git, directory, signal);
  // Pushes go on meanwhile: only what is found twice is damage.
  return problems.length === 0 ? [] : runFsck(git, directory, signal);
}

/** Files and directories in each other's place, which git cannot be run on, or which could never be written again. */
async function misplacedFiles(directory: string): Promise<string[]> {
  const found = await stat(directory).catch(() => undefined);
  if (found?.isDirectory() === false) return ["the replica is no directory"];
  const problems: string[] = [];
  for (const name of ["HEAD", "config", "gitmesh.json"]) {
    const file = await stat(join(directory, name)).catch(() => undefined);
    if (file?.isFile() === false) problems.push(`${name} is no file`);
  }
  return problems;
}

/** Every line is looked at as it comes: a client can make git say any amount about odd content, which must hide nothing. */
async function runFsck(git: Git, directory: string, signal: AbortSignal): Promise<string[]> {
  const problems: string[] = [];
  const take = (line: string): void => {
    if (isDamage(line) && problems.length < problemsMax) problems.push(line.slice(0, problemCharactersMax));
  };
  const errors = new Lines(take);
  const output = new Lines(take);
  const args = ["fsck", "--full", "--no-dangling", "--no-reflogs", "--no-progress"];
  const run = await git.run({ args, directory, signal, background: true, onStderr: (text) => errors.add(text) });
  run.stdin.end();
  for await (const chunk of run.stdout as AsyncIterable<Buffer>) {
    output.add(chunk.toString("utf8"));
    if (problems.length === problemsMax) break;
  }
  // More would say nothing new.
  if (problems.length === problemsMax) run.kill();
  const exit = await run.exit;
  signal.throwIfAborted();
  errors.end();
  output.end();
  if (problems.length === 0 && (exit.code === null || (exit.code !== 0 && errors.count + output.count === 0)))
    throw new GitmeshError("git-failed", `fsck: ${exit.stderr.trim().slice(-300) || "was killed"}`);
  return problems;
}

function isDamage(line: string): boolean {
  return line !== "" && !isOddContent(line) && !isNotice(line) && !isBuiltIn(line);
}

/** The empty tree, by SHA-1 and SHA-256: git has it without a file, so that a pack may come without it. */
const emptyTrees = [
  "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
  "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
];

function isBuiltIn(line: string): boolean {
  return emptyTrees.some((oid) => line === `missing tree ${oid}`);
}

/** As in "error in commit 1234...: badTimezone: ...": the object is whole, and was made like that. */
function isOddContent(line: string): boolean {
  return /^(?:error|warning) in (?:commit|tree|blob|tag) [0-9a-f]+: /.test(line);
}

function isNotice(line: string): boolean {
  return /^(?:notice:|dangling |unreachable |Checking |warning: )/.test(line);
}

/** Cuts text that comes in pieces into trimmed lines. */
class Lines {
  readonly #take: (line: string) => void;
  #rest = "";
  count = 0;

  constructor(take: (line: string) => void) {
    this.#take = take;
  }

  add(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#line(line);
  }

  end(): void {
    if (this.#rest !== "") this.#line(this.#rest);
    this.#rest = "";
  }

  #line(line: string): void {
    this.count += 1;
    this.#take(line.trim());
  }
}
