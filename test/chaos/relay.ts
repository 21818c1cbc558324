/**
 * A process in one server's network: takes the server's connections to its peers and passes them on through Unix
 * sockets, which know no networks, to the relays of those peers. The faults of a link are here. It ends with its input.
 */
import { execFileSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { Pump, type Passage } from "./pump.ts";
import type { LinkState, RelayAnswer, RelayCommand, RelayConfig, RelayPeer } from "./relay-protocol.ts";

/** Two ends of nothing: what is routed here is never answered. */
const nowhere = "nowhere";
const good: LinkState = { kind: "good" };
const freePassage: Passage = { held: false, delayMs: () => 0 };

/** One connection of our server to a peer. */
class Connection {
  readonly server: Socket;
  readonly peer: Socket;
  readonly #toPeer: Pump;
  readonly #fromPeer: Pump;

  constructor(link: Link, server: Socket, peer: Socket) {
    this.server = server;
    this.peer = peer;
    this.#toPeer = new Pump(server, peer, link.passage("toPeer"));
    this.#fromPeer = new Pump(peer, server, link.passage("fromPeer"));
    const close = (): void => {
      if (!server.destroyed) server.resetAndDestroy();
      peer.destroy();
      link.connections.delete(this);
    };
    this.#closeBoth = close;
    for (const socket of [server, peer]) socket.on("error", () => this.#closeBoth());
    server.on("close", () => this.#closed(link));
    peer.on("close", () => this.#closed(link));
  }

  #closeBoth: () => void;

  flush(): void {
    this.#toPeer.flush();
    this.#fromPeer.flush();
  }

  reset(): void {
    this.#closeBoth();
  }

  /** Resets after so many bytes in either direction. */
  resetAfter(bytes: number): void {
    const check = (): void => {
      if (this.#toPeer.bytes + this.#fromPeer.bytes >= bytes) this.#closeBoth();
    };
    this.#toPeer.onBytes = check;
    this.#fromPeer.onBytes = check;
  }

  /** Closes one end; the other stays open, says nothing and hears nothing, until its own side closes it. */
  halfOpen(closed: "server" | "peer"): void {
    const left = closed === "server" ? this.peer : this.server;
    this.#closeBoth = () => left.destroy();
    this.#toPeer.discard();
    this.#fromPeer.discard();
    if (closed === "server") this.server.resetAndDestroy();
    else this.peer.destroy();
  }

  #closed(link: Link): void {
    if (this.server.destroyed && this.peer.destroyed) link.connections.delete(this);
  }
}

/** Our server's connections to one peer. */
class Link {
  readonly connections = new Set<Connection>();
  readonly #peer: RelayPeer;
  readonly #ownNetwork: boolean;
  #state: LinkState = good;

  constructor(peer: RelayPeer, ownNetwork: boolean) {
    this.#peer = peer;
    this.#ownNetwork = ownNetwork;
  }

  passage(direction: "toPeer" | "fromPeer"): Passage {
    const state = (): LinkState => this.#state;
    return {
      get held() {
        const now = state();
        return now.kind === "unreachable" || (now.kind === "hold" && now[direction]);
      },
      delayMs: () => {
        const now = state();
        return now.kind === "delay" ? now.delayMs + Math.random() * now.jitterMs : 0;
      },
    };
  }

  set(state: LinkState): void {
    if (this.#ownNetwork && this.#state.kind === "unreachable") setReachable(this.#peer.host, true);
    this.#state = state;
    if (this.#ownNetwork && state.kind === "unreachable") setReachable(this.#peer.host, false);
    for (const connection of this.connections) {
      if (state.kind === "reset") connection.reset();
      else if (state.kind === "half-open") connection.halfOpen(state.closed);
      else connection.flush();
    }
  }

  accept(server: Socket): void {
    const peer = connect({ path: this.#peer.socket, allowHalfOpen: true });
    const connection = new Connection(this, server, peer);
    this.connections.add(connection);
    if (this.#state.kind === "reset" && Math.random() < 0.5) {
      connection.resetAfter(Math.floor(Math.random() * this.#state.bytesMax));
    }
  }
}

function setReachable(host: string, reachable: boolean): void {
  if (reachable) {
    ip("route", "del", `${host}/32`, "dev", nowhere);
    ip("addr", "add", `${host}/32`, "dev", "lo");
  } else {
    ip("addr", "del", `${host}/32`, "dev", "lo");
    ip("route", "add", `${host}/32`, "dev", nowhere);
  }
}

function ip(...args: string[]): void {
  execFileSync("ip", args, { stdio: ["ignore", "ignore", "inherit"] });
}

function say(answer: RelayAnswer): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

async function listening(server: Server, address: { path: string } | { host: string; port: number }): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(address, resolve);
  });
}

async function start(config: RelayConfig): Promise<ReadonlyMap<string, Link>> {
  if (config.ownNetwork) {
    ip("link", "set", "lo", "up");
    ip("link", "add", nowhere, "type", "veth", "peer", "name", `${nowhere}-too`);
    ip("link", "set", nowhere, "arp", "off", "up");
    ip("link", "set", `${nowhere}-too`, "up");
    const addresses = new Set([config.address, ...config.peers.map(({ host }) => host)]);
    for (const address of addresses) if (address !== undefined) ip("addr", "add", `${address}/32`, "dev", "lo");
  }
  for (const { socket, host, port } of config.deliveries) {
    rmSync(socket, { force: true });
    const server = createServer({ allowHalfOpen: true }, (incoming) => {
      const outgoing = connect({ host, port, allowHalfOpen: true, noDelay: true });
      for (const end of [incoming, outgoing]) end.on("error", () => [incoming, outgoing].map((one) => one.destroy()));
      Pump.bothWays(incoming, outgoing, freePassage);
      incoming.on("close", () => outgoing.destroySoon());
      outgoing.on("close", () => incoming.destroySoon());
    });
    await listening(server, { path: socket });
  }
  const links = new Map<string, Link>();
  for (const peer of config.peers) {
    const link = new Link(peer, config.ownNetwork);
    links.set(peer.name, link);
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => link.accept(socket));
    await listening(server, { host: peer.host, port: peer.port });
  }
  return links;
}

const links = await start(JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as RelayConfig);
const commands = createInterface({ input: process.stdin });
commands.on("line", (line) => {
  const { id, peer, state } = JSON.parse(line) as RelayCommand;
  try {
    links.get(peer)?.set(state);
    say({ id });
  } catch (error) {
    say({ id, error: String(error) });
  }
});
commands.on("close", () => process.exit(0));
say({ id: 0 });
