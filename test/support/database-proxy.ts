/** Between a store and its database server: lets everything pass, cuts connections at a COMMIT, or falls silent. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

/** What becomes of a COMMIT and its connection. "after": the database gets it, its answer is lost. */
export type Cut = "before" | "after";

export interface DatabaseProxy {
  /** The database's URL through this proxy. */
  readonly url: string;
  /** Sees what the store sends from now on. */
  watch(see: (bytes: Buffer) => void): void;
  /**
   * Cuts the connection of the next COMMIT of a transaction that sent what `pattern` matches. With `down`, the database
   * cannot be reached from then on until `heal`.
   */
  cutNext(cut: Cut, options?: { readonly pattern?: RegExp; readonly down?: boolean }): void;
  /** How many COMMITs were cut. */
  readonly cuts: number;
  /** From now on no byte passes, and nobody is told. */
  silence(): void;
  /** Connections are closed, new ones are closed at once. */
  refuse(): void;
  heal(): void;
  close(): void;
}

export async function openDatabaseProxy(databaseUrl: string): Promise<DatabaseProxy> {
  const { hostname, port } = new URL(databaseUrl);
  const sockets = new Set<Socket>();
  let mode: "pass" | "silent" | "refuse" = "pass";
  let armed: { readonly cut: Cut; readonly pattern: RegExp; readonly down: boolean } | undefined;
  let cuts = 0;
  let see: (bytes: Buffer) => void = () => {};
  const closeAll = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  const server = createServer((client) => {
    if (mode === "refuse") {
      client.on("error", () => {});
      client.destroy();
      return;
    }
    const upstream = connect(Number(port), hostname);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => {});
      socket.on("close", () => sockets.delete(socket));
    }
    let sent = "";
    client.on("data", (bytes: Buffer) => {
      if (mode !== "pass") return;
      see(bytes);
      sent = (sent + bytes.toString("latin1")).slice(-100_000);
      const commits = isCommit(bytes);
      const order = commits && armed?.pattern.test(sent) === true ? armed : undefined;
      if (commits) sent = "";
      if (order?.cut !== "before") upstream.write(bytes);
      if (order === undefined) return;
      armed = undefined;
      cuts += 1;
      client.destroy();
      // What was forwarded reaches the database before the end of the connection does.
      upstream.end();
      if (!order.down) return;
      mode = "refuse";
      for (const socket of sockets) if (socket !== upstream) socket.destroy();
    });
    upstream.on("data", (bytes: Buffer) => {
      if (mode === "pass" && !client.destroyed) client.write(bytes);
    });
    client.on("close", () => upstream.end());
    upstream.on("close", () => client.destroy());
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return {
    url: databaseUrl.replace(`:${port}`, `:${address.port}`),
    watch: (callback) => {
      see = callback;
    },
    cutNext: (cut, { pattern = /(?:)/, down = false } = {}) => {
      armed = { cut, pattern, down };
    },
    get cuts() {
      return cuts;
    },
    silence: () => {
      mode = "silent";
    },
    refuse: () => {
      mode = "refuse";
      closeAll();
    },
    heal: () => {
      // What was held back is lost: a connection cannot go on without it.
      if (mode === "silent") closeAll();
      mode = "pass";
      armed = undefined;
    },
    close: () => {
      server.close();
      closeAll();
    },
  };
}

/** The statement alone: MySQL's packet ends with it, PostgreSQL's text with a zero; columns have names like it. */
function isCommit(bytes: Buffer): boolean {
  return bytes.includes("commit\0") || bytes.subarray(-7).equals(Buffer.from("\u0003commit"));
}
