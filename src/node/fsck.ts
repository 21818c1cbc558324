/** `git fsck` of a replica: whether every object that its refs reach is there and is what its name says. */
import { GitmeshError } from "../base/errors.ts";
import type { Git } from "./git.ts";

const problemsMax = 5;
const problemCharactersMax = 300;
/** Dangling objects are not listed, so the output is short unless much is wrong. */
const outputBytesMax = 16 * 1024 * 1024;

/**
 * Resolves with what is wrong, a few lines of it; empty when the replica is sound. What was pushed as it is (an odd date
 * or file mode, which git calls errors too) is no damage. Throws GitmeshError "git-failed" when git was killed.
 */
export async function fsck(git: Git, directory: string, signal: AbortSignal): Promise<string[]> {
  const problems = await runFsck(git, directory, signal);
  // Pushes go on meanwhile: only what is found twice is damage.
  return problems.length === 0 ? [] : runFsck(git, directory, signal);
}

async function runFsck(git: Git, directory: string, signal: AbortSignal): Promise<string[]> {
  const args = ["fsck", "--full", "--no-dangling", "--no-reflogs", "--no-progress"];
  const run = await git.attempt({ args, directory, signal, background: true }, "", outputBytesMax);
  if (run.code === null) throw new GitmeshError("git-failed", `fsck: ${run.stderr.trim().slice(-300) || "was killed"}`);
  if (run.code === 0) return [];
  const lines = `${run.stderr}\n${run.stdout.toString("utf8")}`.split("\n").map((line) => line.trim());
  const damage = lines.filter((line) => line !== "" && !isOddContent(line) && !isNotice(line));
  return damage.slice(0, problemsMax).map((line) => line.slice(0, problemCharactersMax));
}

/** As in "error in commit 1234...: badTimezone: ...": the object is whole, and was made like that. */
function isOddContent(line: string): boolean {
  return /^(?:error|warning) in (?:commit|tree|blob|tag) [0-9a-f]+: /.test(line);
}

function isNotice(line: string): boolean {
  return /^(?:notice:|dangling |unreachable |Checking |warning: )/.test(line);
}
