/** Takes registrations and heartbeats as a controller does, and remembers them. */
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { HeartbeatRequest, RegisterRequest } from "../../protocol/node-api.ts";

export class FakeController {
  readonly registrations: RegisterRequest[] = [];
  readonly heartbeats: HeartbeatRequest[] = [];
  deletedRepositoryIds: string[] = [];
  /** The next heartbeat of the node with this id is answered with the wish for a registration. */
  forgottenId: string | undefined;
  /** What every call is answered with; 200 normally. */
  status = 200;
  readonly #server: Server;

  constructor() {
    this.#server = createServer((request, response) => {
      void (async () => {
        let body = "";
        for await (const chunk of request) body += String(chunk);
        response.statusCode = this.status;
        if (this.status !== 200) response.end("{}");
        else response.end(JSON.stringify(this.#answer(request.url ?? "", JSON.parse(body))));
      })();
    });
  }

  async start(): Promise<void> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #answer(url: string, body: unknown): unknown {
    if (url.endsWith("/register")) {
      this.registrations.push(body as RegisterRequest);
      return { deletedRepositoryIds: this.deletedRepositoryIds, orphanRepositoryIds: [] };
    }
    const heartbeat = body as HeartbeatRequest;
    this.heartbeats.push(heartbeat);
    const register = heartbeat.id === this.forgottenId;
    if (register) this.forgottenId = undefined;
    return { register };
  }
}
