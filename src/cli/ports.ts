/** Whether ports are free, before anything is started. */
import { createServer } from "node:net";

/** Throws one sentence naming every port that is in use, and what it was for. */
export async function requireFreePorts(
  wanted: readonly { readonly name: string; readonly port: number }[],
): Promise<void> {
  const taken: string[] = [];
  for (const { name, port } of wanted) {
    const code = await errorOf(port);
    if (code === "EADDRINUSE") taken.push(`${port} (${name})`);
    else if (code !== undefined) throw new Error(`Port ${port} (${name}) cannot be used (${code}); see --port-base.`);
  }
  if (taken.length === 0) return;
  const words = taken.length === 1 ? `Port ${taken.join("")} is` : `Ports ${taken.join(", ")} are`;
  throw new Error(`${words} in use by another program; stop it or choose others with --port-base.`);
}

function errorOf(port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ port, host: "127.0.0.1", exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}
