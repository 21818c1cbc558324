/** Connected pairs of Unix sockets: one end for the server, one to become git's standard input and output. */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface SocketPair {
  readonly ours: Socket;
  readonly theirs: Socket;
}

export class SocketPairs {
  /** Private (mode 0700), so that nobody else connects. */
  readonly directory: string;
  readonly #server: Server;
  #accepted: ((socket: Socket) => void) | undefined;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(directory: string, server: Server) {
    this.directory = directory;
    this.#server = server;
    server.on("connection", (socket) => {
      if (this.#accepted === undefined) socket.destroy();
      else this.#accepted(socket);
    });
  }

  static async open(): Promise<SocketPairs> {
    const directory = mkdtempSync(join(tmpdir(), "gitmesh-"));
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
    server.listen(join(directory, "pairs"));
    await once(server, "listening");
    return new SocketPairs(directory, server);
  }

  /** Pairs are made one after the other, so that both ends belong together for sure. Throws when there are no files left. */
  make(): Promise<SocketPair> {
    const pair = this.#last.then(() => this.#connect());
    this.#last = pair.catch(() => {});
    return pair;
  }

  close(): void {
    this.#server.close();
    rmSync(this.directory, { recursive: true, force: true });
  }

  async #connect(): Promise<SocketPair> {
    const ours = connect({ path: join(this.directory, "pairs"), allowHalfOpen: true });
    const { promise: accepted, resolve, reject } = Promise.withResolvers<Socket>();
    this.#accepted = resolve;
    // Without a free file descriptor the server's side drops the connection.
    const closed = (): void => reject(new Error("no pair of sockets can be made"));
    ours.once("error", reject).once("close", closed);
    try {
      const theirs = await accepted;
      if (ours.connecting) await once(ours, "connect");
      return { ours, theirs };
    } catch (error) {
      ours.destroy();
      throw error;
    } finally {
      ours.off("error", reject).off("close", closed);
      this.#accepted = undefined;
    }
  }
}
