/** Calls a repository server as a controller does. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { request, type Dispatcher } from "undici";
import { v7 as uuid } from "uuid";
import { systemClock } from "../../base/clock.ts";
import { nodePaths, type RefUpdate, type StageResult } from "../../protocol/node-api.ts";

export const testSecret = "a secret of the test";

interface JsonAnswer {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

/** Waits for a condition, up to a limit. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  limitMs = 20_000,
): Promise<void> {
  const endMs = systemClock.monotonicMs() + limitMs;
  while (!(await condition())) {
    if (systemClock.monotonicMs() > endMs) throw new Error(`not within ${limitMs} ms: ${what}`);
    await systemClock.sleep(10);
  }
}

export class NodeApiClient {
  readonly url: string;
  /** The node's own, to look into. */
  readonly directory: string;

  constructor(url: string, directory: string) {
    this.url = url;
    this.directory = directory;
  }

  describe(id: string, objectFormat: "sha1" | "sha256" = "sha1"): Record<string, unknown> {
    return { id, name: "team/test", objectFormat, defaultBranch: "refs/heads/master", description: "" };
  }

  async create(objectFormat: "sha1" | "sha256" = "sha1"): Promise<string> {
    const id = uuid();
    const { status } = await this.json("POST", nodePaths.replicas, this.describe(id, objectFormat));
    if (status !== 201) throw new Error(`creating answered ${status}`);
    return id;
  }

  async json(method: "GET" | "POST" | "PATCH", path: string, body?: unknown): Promise<JsonAnswer> {
    const headers = body === undefined ? {} : { "content-type": "application/json" };
    const answer = await this.send(method, path, body === undefined ? null : JSON.stringify(body), { headers });
    const text = await answer.body.text();
    return { status: answer.statusCode, body: text === "" ? {} : (JSON.parse(text) as Record<string, unknown>) };
  }

  send(
    method: "GET" | "POST" | "PATCH",
    path: string,
    body: Dispatcher.DispatchOptions["body"],
    options: { headers?: Record<string, string>; signal?: AbortSignal } = {},
  ): Promise<Dispatcher.ResponseData> {
    const headers = { authorization: `Bearer ${testSecret}`, ...options.headers };
    const signal = options.signal === undefined ? {} : { signal: options.signal };
    // On a connection of its own: one that was idle may be closed by the node just when it is used again.
    return request(this.url + path, { method, headers, body: body ?? null, reset: true, ...signal });
  }

  apply(id: string, base: number, generation: number, updates: readonly RefUpdate[]): Promise<JsonAnswer> {
    return this.json("POST", nodePaths.apply(id), { base, generation, updates });
  }

  /** The lines of a long answer, the result last. */
  async lines(path: string, body: Dispatcher.DispatchOptions["body"]): Promise<Record<string, unknown>[]> {
    const answer = await this.send("POST", path, body, { headers: { "content-type": "application/octet-stream" } });
    const text = await answer.body.text();
    if (answer.statusCode !== 200) throw new Error(`answered ${answer.statusCode}: ${text}`);
    return text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  stageHeader(oids: readonly string[], ancestors: Readonly<Record<string, string>> = {}, packBytesMax = 1e9): Buffer {
    const tips = oids.map((oid, index) => ({
      name: `refs/heads/b${index}`,
      oid,
      ...(ancestors[oid] === undefined ? {} : { ancestor: ancestors[oid] }),
    }));
    return Buffer.from(`${JSON.stringify({ pushId: "p", tips, packBytesMax })}\n`);
  }

  async stage(id: string, pack: Buffer, ...oids: string[]): Promise<StageResult> {
    const lines = await this.lines(nodePaths.stage(id), Buffer.concat([this.stageHeader(oids), pack]));
    return lines.at(-1)?.["result"] as StageResult;
  }

  async catchUp(
    id: string,
    generation: number,
    sourceUrl: string | null,
    refs: readonly (readonly [string, string])[],
    objectFormat: "sha1" | "sha256" = "sha1",
  ): Promise<Record<string, unknown>> {
    const header = { replica: this.describe(id, objectFormat), generation, sourceUrl };
    const body = [header, ...refs].map((line) => `${JSON.stringify(line)}\n`).join("");
    return (await this.lines(nodePaths.catchUp(id), body)).at(-1)?.["result"] as Record<string, unknown>;
  }

  gitUrl(id: string): string {
    return this.url + nodePaths.git(id);
  }

  replica(id: string): string {
    return join(this.directory, "replicas", id.slice(-2), `${id}.git`);
  }

  /** Quarantines and temporary files below objects/. */
  leftovers(id: string): string[] {
    const objects = join(this.replica(id), "objects");
    if (!existsSync(objects)) return [];
    return readdirSync(objects, { recursive: true, encoding: "utf8" }).filter((name) =>
      /(?:^|\/)(?:tmp_|\.tmp-)/.test(name),
    );
  }

  packs(id: string): string[] {
    return readdirSync(join(this.replica(id), "objects", "pack"));
  }
}
