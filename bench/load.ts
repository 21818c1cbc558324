/** The load generator's process, as the bench sees it. */
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { LoadAnswer, LoadRequest, LoadResult } from "./load-generator.ts";

export type Load = Omit<LoadRequest, "body" | "headers"> & {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
};

/** One load at a time. */
export class LoadGenerator {
  readonly #child: ChildProcess = fork(join(import.meta.dirname, "load-generator.ts"), {
    detached: true,
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });

  async run(load: Load): Promise<LoadResult> {
    const answer = once(this.#child, "message") as Promise<[LoadAnswer]>;
    const ended = once(this.#child, "exit").then(() => {
      throw new Error("the load generator has ended");
    });
    this.#child.send({ ...load, headers: load.headers ?? {}, body: load.body?.toString("base64") ?? "" });
    const [said] = await Promise.race([answer, ended]);
    if ("error" in said) throw new Error(said.error);
    return said.result;
  }

  stop(): void {
    this.#child.kill("SIGKILL");
  }
}
