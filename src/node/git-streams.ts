/** The two directions of the socket that is a git's standard input and output. */
import type { Socket } from "node:net";
import { Readable, type Writable } from "node:stream";

/**
 * What git writes. A git that ends with some of its input unread resets the connection (unix(7)), although all that
 * it wrote is there: so a reset is an end like any other here, and the exit tells what it means.
 */
export function gitStdout(socket: Socket): Readable {
  let ended = false;
  const stdout = new Readable({
    read: () => void socket.resume(),
    destroy: (_error, done) => {
      ended = true;
      socket.destroy();
      done(null);
    },
  });
  const end = (): void => {
    if (!ended) stdout.push(null);
    ended = true;
  };
  socket.on("data", (chunk: Buffer) => {
    if (!ended && !stdout.push(chunk)) socket.pause();
  });
  socket.once("end", end).once("close", end);
  socket.on("error", () => {});
  return stdout;
}

/**
 * Writes all of `source` to a git with back-pressure, and ends its input. Resolves with false when git ended before it
 * had read everything. Rejects only when the source does.
 */
export async function feed(stdin: Writable, source: AsyncIterable<Uint8Array>): Promise<boolean> {
  for await (const chunk of source) {
    if (stdin.destroyed) return false;
    if (!stdin.write(chunk)) await drained(stdin);
  }
  if (stdin.destroyed) return false;
  stdin.end();
  return true;
}

function drained(stdin: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      stdin.off("drain", done).off("close", done);
      resolve();
    };
    stdin.on("drain", done).on("close", done);
    if (stdin.destroyed) done();
  });
}
