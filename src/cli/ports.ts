/** Whether ports are free, before anything is started. */
import { createServer } from "node:net";

/** Throws one sentence naming every port that is in use, and what it was for. */
export async function requireFreePorts(
  wanted: readonly { readonly name: string; readonly port: number }[],
): Promise<void> {
  const taken: string[] = [];
  for (const { name, port } of wanted) if (!(await isFree(port))) taken.push(`${port} (${name})`);
  if (taken.length === 0) return;
  const words = taken.length === 1 ? `Port ${taken.join("")} is` : `Ports ${taken.join(", ")} are`;
  throw new Error(`${words} in use by another program; stop it or choose others with --port-base.`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ port, host: "127.0.0.1", exclusive: true }, () => server.close(() => resolve(true)));
  });
}
