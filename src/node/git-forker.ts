/**
 * A small process that forks git for a repository server. Not imported by it: started with child_process.fork.
 *
 * Why: fork copies the page tables of the process that forks, which blocks a server of some hundred megabytes for
 * milliseconds each time. This process stays small, since it imports nothing.
 *
 * The server sends `{ id, args, cwd, env }` with one end of a connected pair of sockets, which becomes git's standard
 * input and output; standard error and the exit come back as messages. Each git leads a process group, so that what it
 * starts itself is killed with it. When the server is gone so is every git, and then this process.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { rmSync } from "node:fs";
import { constants, setPriority } from "node:os";
import type { Socket } from "node:net";

export interface ForkRequest {
  readonly type: "fork";
  readonly id: number;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly background: boolean;
  readonly env: Readonly<Record<string, string>>;
}

export type ForkerRequest = ForkRequest | { readonly type: "kill"; readonly id: number };

export type ForkerMessage =
  | { readonly type: "started"; readonly id: number; readonly pid: number }
  | { readonly type: "stderr"; readonly id: number; readonly text: string }
  | { readonly type: "exit"; readonly id: number; readonly code: number | null; readonly signal: string | null }
  | { readonly type: "failed"; readonly id: number; readonly message: string };

/** So much of a git's standard error is passed on as it comes; of what follows, the end when git ends. */
const stderrCharactersMax = 1024 * 1024;
const stderrTailCharacters = 16 * 1024;

const running = new Map<number, ChildProcess>();
/** The server's private directory, to be removed when the server could not do it. */
const [serverDirectory] = process.argv.slice(2);
let serverGone = false;

function tell(message: ForkerMessage): void {
  // A server that has just died is noticed by "disconnect"; with a callback the failure to tell it is no error here.
  if (process.connected) process.send?.(message, undefined, undefined, () => {});
}

function fork(request: ForkRequest, socket: Socket): void {
  const { id, args, cwd, env } = request;
  let child: ChildProcess;
  try {
    child = spawn("git", args, { cwd, env, stdio: [socket, socket, "pipe"], detached: true });
  } catch (error) {
    socket.destroy();
    tell({ type: "failed", id, message: String(error) });
    return;
  }
  // At once, before anything is read from it: from here on the socket is git's alone.
  socket.destroy();
  running.set(id, child);
  if (child.pid !== undefined) {
    if (request.background) yieldToOthers(child.pid);
    tell({ type: "started", id, pid: child.pid });
  }
  child.on("error", (error) => {
    tell({ type: "failed", id, message: error.message });
    ended(id);
  });
  const tail = forwardStderr(id, child);
  child.on("close", (code, signal) => {
    if (!running.has(id)) return;
    if (tail() !== "") tell({ type: "stderr", id, text: tail() });
    tell({ type: "exit", id, code, signal });
    ended(id);
  });
}

function yieldToOthers(pid: number): void {
  try {
    setPriority(pid, constants.priority.PRIORITY_LOW);
  } catch {
    // It has ended already.
  }
}

/** Returns what was not passed on yet. */
function forwardStderr(id: number, child: ChildProcess): () => string {
  let characters = 0;
  let tail = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    characters += text.length;
    if (characters <= stderrCharactersMax) tell({ type: "stderr", id, text });
    else tail = (tail + text).slice(-stderrTailCharacters);
  });
  return () => tail;
}

function kill(child: ChildProcess | undefined): void {
  if (child?.pid === undefined) return;
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // It has ended just now.
  }
}

function ended(id: number): void {
  running.delete(id);
  endWhenAlone();
}

/** Not before the last git is gone: the next server waits for this process before it touches the repositories. */
function endWhenAlone(): void {
  if (!serverGone || running.size > 0) return;
  if (serverDirectory !== undefined) rmSync(serverDirectory, { recursive: true, force: true });
  process.exit(0);
}

process.on("message", (request: ForkerRequest, socket: unknown) => {
  if (request.type === "kill") kill(running.get(request.id));
  else if (serverGone) (socket as Socket).destroy();
  else fork(request, socket as Socket);
});
process.on("disconnect", () => {
  serverGone = true;
  for (const child of running.values()) kill(child);
  endWhenAlone();
});
// Whatever goes wrong here, no git is left behind.
process.on("uncaughtException", (error) => {
  for (const child of running.values()) kill(child);
  console.error(error);
  process.exit(1);
});
// Ctrl-C in a terminal reaches the whole group: the server decides when to stop.
process.on("SIGINT", () => {});
process.on("SIGTERM", () => {});
