/**
 * Connections that have not sent a byte yet: clients open some in advance. A closing server would wait for their first
 * request until its time limit, since it takes only those for idle that have had one.
 */
import type { Server } from "node:http";
import type { Socket } from "node:net";

/** Returns what closes those there are. */
export function trackSilentConnections(server: Server): () => void {
  const silent = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    silent.add(socket);
    socket.once("close", () => silent.delete(socket));
  });
  server.on("request", ({ socket }: { socket: Socket }) => silent.delete(socket));
  return () => {
    for (const socket of silent) if (socket.bytesRead === 0) socket.destroy();
  };
}
