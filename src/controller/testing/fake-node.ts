/** A repository server that keeps no repositories: it remembers what it was asked, and fails when it is told to. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { v7 as uuid } from "uuid";
import { clusterPaths } from "../../protocol/node-api.ts";

export interface FakeCall {
  readonly method: string;
  readonly path: string;
  readonly body: Buffer;
}

type Behaviour = (call: FakeCall, response: ServerResponse, request: IncomingMessage) => void;

export class FakeNode {
  readonly id = uuid();
  readonly bootId = uuid();
  readonly calls: FakeCall[] = [];
  /** What it says that it has moved aside. */
  readonly aside: unknown[] = [];
  /** Answers instead of the usual when the path ends like this. */
  readonly behaviours = new Map<string, Behaviour>();
  readonly #server: Server;
  #port = 0;

  constructor() {
    this.#server = createServer((request, response) => void this.#answer(request, response));
  }

  static async start(): Promise<FakeNode> {
    const node = new FakeNode();
    node.#server.listen(0, "127.0.0.1");
    await once(node.#server, "listening");
    node.#port = (node.#server.address() as AddressInfo).port;
    return node;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Calls whose path ends like this. */
  callsTo(end: string): readonly FakeCall[] {
    return this.calls.filter(({ path }) => path.endsWith(end));
  }

  /** Registers with a controller; returns its answer. */
  register(controllerUrl: string, secret: string, inventory: unknown[] = []): Promise<Response> {
    const { id, url, bootId } = this;
    const body = { id, url, bootId, version: "0.1.0", diskUsage: 0.1, diskFreeBytes: 1e9, inventory };
    return post(controllerUrl + clusterPaths.register, secret, body);
  }

  heartbeat(controllerUrl: string, secret: string): Promise<Response> {
    const { id, bootId } = this;
    return post(controllerUrl + clusterPaths.heartbeat, secret, {
      id,
      bootId,
      diskUsage: 0.1,
      diskFreeBytes: 1e9,
      sizes: [],
    });
  }

  /** Refuses connections from now on. */
  async stop(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  async startAgain(): Promise<void> {
    this.#server.listen(this.#port, "127.0.0.1");
    await once(this.#server, "listening");
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    request.on("error", () => {});
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer);
    } catch {
      return;
    }
    const call = { method: request.method ?? "", path: request.url ?? "", body: Buffer.concat(chunks) };
    this.calls.push(call);
    for (const [end, behaviour] of this.behaviours) {
      if (call.path.endsWith(end)) return behaviour(call, response, request);
    }
    if (call.method === "GET" && /\/replicas\/[^/]+$/.test(call.path)) {
      const id = call.path.split("/").at(-1);
      return json(response, 200, { id, generation: 0, sizeBytes: 0, uses: "1" });
    }
    if (call.path.endsWith("/_apply")) {
      return json(response, 200, {
        generation: (JSON.parse(call.body.toString()) as { generation: number }).generation,
      });
    }
    if (call.path.endsWith("/_catch-up")) {
      const [header] = call.body.toString().split("\n");
      const { generation } = JSON.parse(header ?? "") as { generation: number };
      return json(response, 200, { result: { kind: "caught-up", generation } });
    }
    if (call.path.endsWith("/_verify")) {
      const { generation } = JSON.parse(call.body.toString()) as { generation: number };
      return json(response, 200, { result: { kind: "verified", generation, refs: "same", problems: [] } });
    }
    if (call.path.endsWith("/copies")) return json(response, 200, { replicas: [], aside: this.aside });
    if (call.path.endsWith("/_stage")) {
      const { tips } = JSON.parse(call.body.subarray(0, call.body.indexOf(0x0a)).toString()) as { tips: unknown[] };
      const result = { kind: "staged", tips: tips.map(() => ({ type: "commit" })), packBytes: 1 };
      return json(response, 200, { result });
    }
    if (call.path.endsWith("/git-upload-pack")) {
      response.writeHead(200).end(`objects from ${this.id}`);
      return;
    }
    response.writeHead(call.method === "POST" && call.path.endsWith("/replicas") ? 201 : 204).end();
  }
}

export function json(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(`${JSON.stringify(value)}\n`);
}

function post(url: string, secret: string, body: unknown): Promise<Response> {
  return fetch(url, {
    method: "POST",
    headers: { authorization: `Bearer ${secret}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}
