/** A repository server in this process, on a directory of the test, known to a fake controller. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../base/clock.ts";
import { createLogger } from "../../base/log.ts";
import { nodeSettingsSchema } from "../../base/settings.ts";
import { startNode, type RunningServer } from "../server.ts";
import { FakeController } from "./fake-controller.ts";
import { NodeApiClient, testSecret } from "./node-api-client.ts";
import { SourceRepository } from "./source-repository.ts";

export class TestNodes {
  readonly directory: string = mkdtempSync(join(tmpdir(), "gitmesh-nodes-"));
  readonly controller: FakeController = new FakeController();
  readonly #running: RunningServer[] = [];
  foreignDisks = 0;

  /** The first node's; `settings` overrides. */
  async start(name: string, settings: Readonly<Record<string, unknown>> = {}): Promise<NodeApiClient> {
    const { client } = await this.startStoppable(name, settings);
    return client;
  }

  async startStoppable(
    name: string,
    settings: Readonly<Record<string, unknown>> = {},
  ): Promise<{ client: NodeApiClient; stop: () => Promise<void> }> {
    if (this.#running.length === 0) await this.controller.start();
    const parsed = nodeSettingsSchema.parse({
      secret: testSecret,
      listen: "127.0.0.1:0",
      controllers: this.controller.url,
      directory: join(this.directory, name),
      heartbeatIntervalMs: 30,
      ...settings,
    });
    const node = await startNode(parsed, {
      log: createLogger(name, "silent"),
      clock: systemClock,
      onForeignDisk: () => (this.foreignDisks += 1),
    });
    this.#running.push(node);
    return { client: new NodeApiClient(node.url, parsed.directory), stop: () => node.close() };
  }

  source(name = "source", objectFormat: "sha1" | "sha256" = "sha1"): SourceRepository {
    return new SourceRepository(join(this.directory, name), objectFormat);
  }

  async close(): Promise<void> {
    await Promise.all(this.#running.map((node) => node.close()));
    this.controller.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
