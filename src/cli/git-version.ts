/** Whether the machine's git will do. */
import { spawnSync } from "node:child_process";
import { searchPath } from "../base/search-path.ts";

const oldest = [2, 39] as const;

/** Throws one sentence when git is missing or too old; returns its version, as in "2.39.5". */
export function requireGit(): string {
  const run = spawnSync("git", ["--version"], { encoding: "utf8", env: { PATH: searchPath } });
  const version = /git version (\d+)\.(\d+)(?:\.\d+)*/.exec(run.stdout ?? "");
  if (run.error !== undefined || version === null) {
    throw new Error(`gitmesh needs git ${oldest.join(".")} or newer, and there is no git in PATH.`);
  }
  const [major, minor] = [Number(version[1]), Number(version[2])];
  if (major < oldest[0] || (major === oldest[0] && minor < oldest[1])) {
    throw new Error(
      `gitmesh needs git ${oldest.join(".")} or newer; this is ${version[0].replace("git version ", "")}.`,
    );
  }
  return version[0].replace("git version ", "");
}
