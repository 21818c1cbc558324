/**
 * A small process that forks git for a repository server. Not imported by it: started with child_process.fork.
 *
 * Why: fork copies the page tables of the process that forks, which blocks a server of some hundred megabytes for
 * milliseconds each time. This process stays small, since it imports nothing.
 *
 * The server sends `{ id, args, cwd, env }` with one end of a connected pair of sockets, which becomes git's standard
 * input and output; standard error and the exit come back as messages. When the server is gone, so is every git.
 */
import { spawn, type ChildProcess } from "node:child_process";
import type { Socket } from "node:net";

export interface ForkRequest {
  readonly type: "fork";
  readonly id: number;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
}

export type ForkerRequest = ForkRequest | { readonly type: "kill"; readonly id: number };

export type ForkerMessage =
  | { readonly type: "stderr"; readonly id: number; readonly text: string }
  | { readonly type: "exit"; readonly id: number; readonly code: number | null; readonly signal: string | null }
  | { readonly type: "failed"; readonly id: number; readonly message: string };

const running = new Map<number, ChildProcess>();

function tell(message: ForkerMessage): void {
  if (process.connected) process.send?.(message);
}

function fork(request: ForkRequest, socket: Socket): void {
  let child: ChildProcess;
  try {
    child = spawn("git", request.args, { cwd: request.cwd, env: request.env, stdio: [socket, socket, "pipe"] });
  } catch (error) {
    socket.destroy();
    tell({ type: "failed", id: request.id, message: String(error) });
    return;
  }
  // At once, before anything is read from it: from here on the socket is git's alone.
  socket.destroy();
  running.set(request.id, child);
  child.on("error", (error) => {
    running.delete(request.id);
    tell({ type: "failed", id: request.id, message: error.message });
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => tell({ type: "stderr", id: request.id, text }));
  child.on("close", (code, signal) => {
    if (running.delete(request.id)) tell({ type: "exit", id: request.id, code, signal });
  });
}

process.on("message", (request: ForkerRequest, socket: unknown) => {
  if (request.type === "fork") fork(request, socket as Socket);
  else running.get(request.id)?.kill("SIGKILL");
});
process.on("disconnect", () => {
  for (const child of running.values()) child.kill("SIGKILL");
  process.exit(0);
});
// Ctrl-C in a terminal reaches the whole group: the server decides when to stop.
process.on("SIGINT", () => {});
process.on("SIGTERM", () => {});
