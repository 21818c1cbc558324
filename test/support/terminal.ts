/**
 * A terminal with git in it: scripts as a person would type them, in a directory of their own, with an environment
 * that has nothing of the machine's or the person's configuration.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { exitOf } from "./processes.ts";

export interface Outcome {
  /** 128 and more: ended by a signal. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunningScript {
  readonly outcome: Promise<Outcome>;
  /** Ends the script and all that it started, without a chance to clean up. */
  kill(): void;
}

const defaultLimitMs = 120_000;

/** The environment of every script: fixed authors and dates, so that the same commits have the same ids. */
export function cleanEnvironment(home: string): Record<string, string> {
  return {
    PATH: process.env["PATH"] ?? "/usr/bin:/bin",
    HOME: home,
    LANG: "C",
    LC_ALL: "C",
    TZ: "UTC",
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_COUNT: "3",
    GIT_CONFIG_KEY_0: "init.defaultBranch",
    GIT_CONFIG_VALUE_0: "master",
    GIT_CONFIG_KEY_1: "advice.detachedHead",
    GIT_CONFIG_VALUE_1: "false",
    GIT_CONFIG_KEY_2: "gc.auto",
    GIT_CONFIG_VALUE_2: "0",
    GIT_TERMINAL_PROMPT: "0",
    GIT_AUTHOR_NAME: "Ada Author",
    GIT_AUTHOR_EMAIL: "ada@example.org",
    GIT_AUTHOR_DATE: "2026-01-01T12:00:00Z",
    GIT_COMMITTER_NAME: "Carl Committer",
    GIT_COMMITTER_EMAIL: "carl@example.org",
    GIT_COMMITTER_DATE: "2026-01-01T12:00:00Z",
  };
}

export class Terminal {
  readonly directory: string;
  readonly #variables: Readonly<Record<string, string>>;

  /** `variables` are the script's: `{ GIT: url }` is `$GIT`. Makes the directory. */
  constructor(directory: string, variables: Readonly<Record<string, string>> = {}) {
    mkdirSync(directory, { recursive: true });
    this.directory = directory;
    this.#variables = variables;
  }

  /** Another terminal in a directory below. */
  in(path: string): Terminal {
    return new Terminal(join(this.directory, path), this.#variables);
  }

  /** The same directory with more variables. */
  with(variables: Readonly<Record<string, string>>): Terminal {
    return new Terminal(this.directory, { ...this.#variables, ...variables });
  }

  /** Runs the script until its first command that fails. Takes longer than `limitMs`: it is killed. */
  async run(script: string, options: { input?: string | Uint8Array; limitMs?: number } = {}): Promise<Outcome> {
    return await this.start(script, options).outcome;
  }

  /** Standard output without the newline at its end; fails the test when the script fails. */
  async ok(script: string, options: { input?: string | Uint8Array; limitMs?: number } = {}): Promise<string> {
    const outcome = await this.run(script, options);
    assert.equal(outcome.code, 0, `$ ${script}\n${outcome.stdout}${outcome.stderr}`);
    return outcome.stdout.replace(/\n$/, "");
  }

  /** All that the script said; fails the test when the script does not fail. */
  async fails(script: string, options: { input?: string | Uint8Array; limitMs?: number } = {}): Promise<string> {
    const outcome = await this.run(script, options);
    assert.notEqual(outcome.code, 0, `should have failed: $ ${script}\n${outcome.stdout}${outcome.stderr}`);
    assert.ok(outcome.code <= 128, `ended by a signal: $ ${script}\n${outcome.stderr}`);
    return outcome.stdout + outcome.stderr;
  }

  start(script: string, options: { input?: string | Uint8Array; limitMs?: number } = {}): RunningScript {
    const child = spawn("bash", ["--norc", "-euo", "pipefail", "-c", script], {
      cwd: this.directory,
      env: { ...cleanEnvironment(this.directory), ...this.#variables },
      stdio: "pipe",
      // A group of its own, so that the script ends with all that it started.
      detached: true,
    });
    const kill = (): void => {
      if (child.pid === undefined) return;
      try {
        process.kill(-child.pid, "SIGKILL");
      } catch {
        // It has ended.
      }
    };
    let timedOut = false;
    const { limitMs = defaultLimitMs } = options;
    const limit = setTimeout(() => {
      timedOut = true;
      kill();
    }, limitMs);
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    child.stdin.on("error", () => {});
    child.stdin.end(options.input ?? "");
    const outcome = exitOf(child).then(({ code }) => {
      clearTimeout(limit);
      if (timedOut) stderr += `\n(killed after ${limitMs} ms)`;
      return { code: code ?? 137, stdout, stderr };
    });
    return { outcome, kill };
  }
}
