/** Free ports on 127.0.0.1, a row of them, kept from other tests of this machine until the test file ends. */
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { isRunning } from "./processes.ts";

/** Below the range that the kernel takes for outgoing connections (32768 and up). */
const first = 15_000;
const rowPorts = 20;
const rows = 850;
const attemptsMax = 200;
/** A user's own: two users of one machine only find each other's ports taken. */
const reservations = join(tmpdir(), `gitmesh-test-ports-${userInfo().uid}`);

/** The first of `count` consecutive ports that are free now. */
export async function freePorts(count: number): Promise<number> {
  if (count > rowPorts) throw new RangeError(`at most ${rowPorts} ports at a time`);
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    // Again each time: another test that ends removes it when it is empty.
    mkdirSync(reservations, { recursive: true });
    const base = first + rowPorts * randomInt(rows);
    if (!reserve(base)) continue;
    let free = true;
    for (let port = base; free && port < base + count; port += 1) free = await isFree(port);
    if (free) return base;
  }
  throw new Error(`found no ${count} consecutive free ports`);
}

/** Takes the row for this process, from one that has ended if need be. */
function reserve(base: number): boolean {
  const file = join(reservations, String(base));
  for (let attempt = 0; attempt < 2; attempt += 1) {
    try {
      writeFileSync(file, String(process.pid), { flag: "wx" });
      process.once("exit", () => giveBack(file));
      return true;
    } catch {
      if (isRunning(ownerOf(file))) return false;
      rmSync(file, { force: true });
    }
  }
  return false;
}

function giveBack(file: string): void {
  rmSync(file, { force: true });
  try {
    rmdirSync(reservations);
  } catch {
    // Others have ports.
  }
}

/** 0 when there is none. */
function ownerOf(file: string): number {
  try {
    return Number(readFileSync(file, "utf8"));
  } catch {
    return 0;
  }
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
