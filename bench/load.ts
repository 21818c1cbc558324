/** The load generator's process, as the bench sees it. */
import { fork, type ChildProcess } from "node:child_process";
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
    const { promise, resolve } = Promise.withResolvers<LoadAnswer>();
    const gone = (): void => resolve({ error: "the load generator has ended" });
    this.#child.once("message", resolve).once("exit", gone);
    if (this.#child.connected)
      this.#child.send({ ...load, headers: load.headers ?? {}, body: load.body?.toString("base64") ?? "" });
    else gone();
    const said = await promise;
    this.#child.off("message", resolve).off("exit", gone);
    if ("error" in said) throw new Error(said.error);
    return said.result;
  }

  stop(): void {
    this.#child.kill("SIGKILL");
  }
}
