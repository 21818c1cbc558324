/**
 * The life of a whole cluster, recorded: every file operation of its servers and their gits, and when what was
 * promised to whom.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { callApi } from "../support/api.ts";
import { startCluster, type Cluster } from "../support/cluster.ts";
import type { Supervised } from "../support/servers.ts";
import { temporaryDirectory, type TemporaryDirectory } from "../support/temp.ts";
import type { Terminal } from "../support/terminal.ts";
import { waitFor } from "../support/wait.ts";
import { Disk } from "./disk.ts";
import { fileOperations, type Operation } from "./file-operations.ts";
import { straceArguments } from "./strace-log.ts";

/** Something that a client was told. */
export interface Promised {
  readonly what: string;
  readonly repository: string;
  /** Values that refs have from then on; null: none. Empty where the repository itself was promised. */
  readonly refs: Readonly<Record<string, string | null>>;
  /** False: the repository is deleted from then on. */
  readonly exists: boolean;
  /** Index of the operation that sent the answer. */
  readonly index: number;
}

export interface Recording {
  readonly operations: readonly Operation[];
  readonly promises: readonly Promised[];
}

/** What nobody needs after a power loss. */
const except = /^(?!data(?:$|\/))|^data\/log\/|-shm$/;

/** A traced cluster starts slowly. */
const startMs = 120_000;

/** Whether strace may trace here. */
export function canRecord(): boolean {
  return spawnSync("strace", ["-D", "-f", "--seccomp-bpf", "-o", "/dev/null", "true"]).status === 0;
}

/** Records what `script` does with a cluster. */
export async function record(
  options: { readonly nodes: number; readonly env: Readonly<Record<string, string>> },
  script: (recorder: Recorder) => Promise<void>,
): Promise<Recording> {
  const temporary = temporaryDirectory();
  const logFile = join(temporary.path, "strace.log");
  let cluster: Cluster<Supervised> | undefined;
  try {
    cluster = await startCluster({
      ...options,
      replicas: 3,
      readyMs: startMs,
      wrapper: ["strace", ...straceArguments(logFile)],
    });
    const recorder = new Recorder(cluster);
    await script(recorder);
    const stopped = cluster;
    await stopped.servers.stop();
    // The log is whole when strace is gone.
    await waitFor(() => stopped.processes().length === 0, { what: "strace to end" });
    const root = join(cluster.dataDirectory, "..");
    const operations = fileOperations(readFileSync(logFile, "latin1"), { root, except, cwd: root });
    assertFaithful(operations, cluster.dataDirectory, temporary);
    return { operations, promises: recorder.promisesIn(operations) };
  } finally {
    await cluster?.stop();
    temporary.remove();
  }
}

/** Nothing was missed: all that was recorded makes the directory as it is. */
function assertFaithful(operations: readonly Operation[], data: string, temporary: TemporaryDirectory): void {
  const disk = new Disk();
  for (const operation of operations) disk.do(operation);
  disk.image(() => 1).write("data", temporary.path);
  const args = ["-r", "-q", "-x", "*-shm", "-x", "*.log", join(temporary.path, "data"), data];
  const diff = spawnSync("diff", args, { encoding: "utf8" });
  assert.equal(diff.stdout + diff.stderr, "", "the recording and the disk differ");
}

interface Expected extends Omit<Promised, "index"> {
  readonly answer: readonly string[];
}

/** Does things with the cluster, and notes what is promised by which answer. */
export class Recorder {
  readonly cluster: Cluster<Supervised>;
  readonly work: Terminal;
  readonly #expected: Expected[] = [];

  constructor(cluster: Cluster<Supervised>) {
    this.cluster = cluster;
    this.work = cluster.terminal();
  }

  async create(repository: string): Promise<void> {
    await this.#call("POST", repository, 201, "creation", true);
  }

  async delete(repository: string): Promise<void> {
    await this.#call("DELETE", repository, 204, "deletion", false);
  }

  /** The answer is known by the request's id. */
  async #call(method: string, repository: string, status: number, what: string, exists: boolean): Promise<void> {
    const id = `recorded-${this.#expected.length}`;
    const url = `${this.cluster.url}/api/repos/${repository}`;
    const answer = await callApi(url, method, undefined, { "x-request-id": id });
    assert.equal(answer.status, status, JSON.stringify(answer.body));
    this.#expect({ what: `${what} of ${repository}`, repository, refs: {}, exists }, `HTTP/1.1 ${status}`, id);
  }

  /** Sets refs with one push from a repository of the terminal's; null deletes. */
  async pushFrom(source: Terminal, repository: string, refs: Readonly<Record<string, string | null>>): Promise<void> {
    const specs = Object.entries(refs).map(([name, oid]) => `+${oid ?? ""}:${name}`.replace(/^\+:/, ":"));
    const url = this.cluster.repo(repository);
    await source.ok(`xargs git push -q '${url}'`, { input: specs.join("\n") });
    const what = `push ${this.#expected.length} of ${specs.length} refs to ${repository}`;
    this.#expect({ what, repository, refs, exists: true }, "unpack ok", `ok ${Object.keys(refs)[0]}\n`);
  }

  /** The promises with the answers that made them. */
  promisesIn(operations: readonly Operation[]): Promised[] {
    let index = 0;
    return this.#expected.map(({ answer, ...promised }) => {
      index = operations.findIndex(
        (operation, at) =>
          at > index && operation.kind === "sent" && answer.every((text) => operation.data.includes(text)),
      );
      assert.ok(index > 0, `no answer about the ${promised.what} was recorded`);
      return { ...promised, index };
    });
  }

  #expect(promised: Omit<Promised, "index">, ...answer: string[]): void {
    this.#expected.push({ ...promised, answer });
  }
}
