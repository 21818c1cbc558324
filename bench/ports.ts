/** Free ports on 127.0.0.1. */
import { once } from "node:events";
import { createServer } from "node:net";

/** Below the range that the kernel takes for outgoing connections. */
const first = 20_000;
const last = 32_000;
const attemptsMax = 100;

/** The first of `count` consecutive ports that are free now. */
export async function freePorts(count: number): Promise<number> {
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    const base = first + Math.floor(Math.random() * (last - first - count));
    const ports = Array.from({ length: count }, (_, index) => base + index);
    const free = await Promise.all(ports.map(isFree));
    if (free.every(Boolean)) return base;
  }
  throw new Error(`found no ${count} consecutive free ports`);
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}
