/** The network of the chaos does to connections what its faults are called. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { freePorts } from "../support/ports.ts";
import { exitOf } from "../support/processes.ts";
import { needs } from "../support/requirement.ts";
import { temporaryDirectory } from "../support/temp.ts";
import { waitFor, within } from "../support/wait.ts";
import { Network } from "./network.ts";
import { missingForChaos } from "./requirements.ts";

const missing = missingForChaos();
const options = needs(missing.join(", "), missing.length === 0);
const link = ["clients", "controller-1"] as const;
const directory = temporaryDirectory();
/** The database's end of the network, which controller-1 reaches. Echoes. */
const echo = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket).on("error", () => {}));
let network: Network;
let endInside = (): void => {};

before(async () => {
  if (options.skip !== undefined) return;
  echo.listen(0, "127.0.0.1");
  await once(echo, "listening");
  const { port } = echo.address() as { port: number };
  network = await Network.start({
    directory: join(directory.path, "network"),
    controllers: ["controller-1"],
    nodes: ["node-1"],
    databaseUrl: `mysql://root@127.0.0.1:${port}/x`,
    portBase: await freePorts(2),
  });
  startInside("controller-1");
});

after(async () => {
  endInside();
  await network?.stop();
  echo.close();
  directory.remove();
});

/** What listens in a server's network: passes every connection on to the database. */
function startInside(server: string): void {
  const [host = "", port = ""] = network.address(server).split(":");
  const database = new URL(network.databaseUrl);
  const script = `
    const net = require("node:net");
    net.createServer((one) => {
      const other = net.connect(${Number(database.port)}, "${database.hostname}");
      for (const [a, b] of [[one, other], [other, one]]) a.pipe(b).on("error", () => a.destroy());
    }).listen(${port}, "${host}");`;
  const [program = "", ...args] = network.enter(server);
  const child = spawn("setpriv", ["--pdeathsig", "KILL", program, ...args, process.execPath, "-e", script]);
  void exitOf(child);
  endInside = () => child.kill("SIGKILL");
}

async function open(): Promise<Socket> {
  const { hostname, port } = new URL(network.outsideUrl("controller-1"));
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {});
  socket.setEncoding("utf8");
  await once(socket, "connect");
  return socket;
}

/** True when what is sent comes back in time. */
async function echoes(socket: Socket, limitMs: number): Promise<boolean> {
  const answer = once(socket, "data").then(([text]) => text === "hello");
  answer.catch(() => {});
  socket.write("hello");
  return await within(limitMs, "the echo", answer).catch(() => false);
}

async function opened(): Promise<Socket> {
  return await waitFor(
    async () => {
      const socket = await open();
      if (await echoes(socket, 2000)) return socket;
      socket.destroy();
      return undefined;
    },
    { what: "a connection through both networks" },
  );
}

test("held in one direction: what was sent arrives when it is over", options, async () => {
  const socket = await opened();
  await network.set(link, { kind: "hold", toPeer: false, fromPeer: true });
  const answer = once(socket, "data");
  socket.write("hello");
  await assert.rejects(within(700, "the answer", answer));
  await network.heal();
  assert.deepEqual(await within(20_000, "the answer", answer), ["hello"]);
  socket.destroy();
});

test("reset: open connections end with an error", options, async () => {
  const socket = await opened();
  // From before the fault: it may be over before the network says that it has begun.
  const closed = new Promise((resolve) => void socket.on("error", () => {}).once("close", resolve));
  await network.set(link, { kind: "reset", bytesMax: 1 });
  await within(20_000, "the end", closed);
  await network.heal();
  (await opened()).destroy();
});

test("half-open: one side's connection is dead and says nothing; new ones are good", options, async () => {
  const socket = await opened();
  await network.set(link, { kind: "half-open", closed: "peer" });
  assert.equal(await echoes(socket, 700), false);
  assert.equal(socket.destroyed, false);
  (await opened()).destroy();
  await network.heal();
  assert.equal(await echoes(socket, 700), false, "it stays dead");
  socket.destroy();
});

test("delay", options, async () => {
  const socket = await opened();
  await network.set(link, { kind: "delay", delayMs: 800, jitterMs: 0 });
  const startMs = performance.now();
  assert.ok(await echoes(socket, 30_000));
  assert.ok(performance.now() - startMs >= 1500, "both ways");
  await network.heal();
  socket.destroy();
});

test(
  "unreachable, in a server's own network: connecting is never answered, an open connection goes on afterwards",
  options,
  async () => {
    const socket = await opened();
    const pair = ["controller-1", "database"] as const;
    await network.set(pair, { kind: "unreachable" });
    assert.equal(await echoes(socket, 700), false);
    const database = new URL(network.databaseUrl);
    const script = `
    const socket = require("node:net").connect({ host: "${database.hostname}", port: ${Number(database.port)}, timeout: 1500 });
    socket.on("connect", () => process.exit(10)).on("error", () => process.exit(11)).on("timeout", () => process.exit(12));`;
    const [program = "", ...args] = network.enter("controller-1");
    assert.equal(spawnSync(program, [...args, process.execPath, "-e", script]).status, 12);
    const late = once(socket, "data");
    await network.heal();
    assert.deepEqual(await within(30_000, "what was on its way", late), ["hello"]);
    socket.destroy();
  },
);
