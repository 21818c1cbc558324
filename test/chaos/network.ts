/**
 * The cluster's network: each server in a network namespace of its own, and a relay process there for all that it
 * connects to (relay.ts). Clients are outside, and have a relay as well. Faults are those of a pair; heal() ends all.
 */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { exitOf } from "../support/processes.ts";
import { within } from "../support/wait.ts";
import type { LinkState, RelayAnswer, RelayCommand, RelayConfig, RelayPeer } from "./relay-protocol.ts";

/** The clients' end of the network. */
export const outside = "clients";
export const database = "database";
/** Of every server, in its own network. */
const serverPort = 8000;
const databaseAddress = "10.77.0.9";
const answerLimitMs = 60_000;

export interface NetworkOptions {
  readonly directory: string;
  readonly controllers: readonly string[];
  readonly nodes: readonly string[];
  /** Of the database, outside. */
  readonly databaseUrl: string;
  /** First of consecutive free ports outside, one for each server. */
  readonly portBase: number;
}

export type Pair = readonly [from: string, to: string];

export class Network {
  readonly #options: NetworkOptions;
  readonly #relays = new Map<string, Relay>();
  readonly #faulty = new Set<string>();

  private constructor(options: NetworkOptions) {
    this.#options = options;
  }

  static async start(options: NetworkOptions): Promise<Network> {
    const network = new Network(options);
    mkdirSync(options.directory, { recursive: true });
    await Promise.all([outside, ...network.#servers].map((name) => network.#startRelay(name)));
    return network;
  }

  /** The database's URL as controllers see it. */
  get databaseUrl(): string {
    const url = new URL(this.#options.databaseUrl);
    url.hostname = databaseAddress;
    return url.href;
  }

  /** HOST:PORT of a server, as the others reach it. */
  address(server: string): string {
    return `${this.#hostOf(server)}:${serverPort}`;
  }

  /** Of a server, as clients reach it. */
  outsideUrl(server: string): string {
    return `http://127.0.0.1:${this.#outsidePort(server)}`;
  }

  /** What a command is put behind so that it runs in the server's network. */
  enter(server: string): string[] {
    return ["nsenter", `--net=/proc/${this.#relay(server).pid}/ns/net`];
  }

  /** Of the processes in a server's network, the one that is not the server's. */
  relayPid(server: string): number {
    return this.#relay(server).pid;
  }

  /** Every pair between which connections are made, from who makes them. Clients have no business with nodes. */
  pairs(): Pair[] {
    const all = [outside, ...this.#servers].flatMap((from) =>
      this.#peersOf(from).map(({ name }): Pair => [from, name]),
    );
    return all.filter(([from, to]) => from !== outside || this.#options.controllers.includes(to));
  }

  async set([from, to]: Pair, state: LinkState): Promise<void> {
    if (state.kind === "good") this.#faulty.delete(`${from} ${to}`);
    else this.#faulty.add(`${from} ${to}`);
    await this.#relay(from).set(to, state);
  }

  /** All links are good again. */
  async heal(): Promise<void> {
    const faulty = [...this.#faulty].map((key) => key.split(" ") as [string, string]);
    await Promise.all(faulty.map((pair) => this.set(pair, { kind: "good" })));
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#relays.values()].map((relay) => relay.stop()));
    this.#relays.clear();
  }

  get #servers(): string[] {
    return [...this.#options.controllers, ...this.#options.nodes];
  }

  #hostOf(server: string): string {
    const number = Number(server.replace(/^\D+-/, ""));
    return server.startsWith("controller-") ? `10.77.0.${number}` : `10.77.0.${10 + number}`;
  }

  #outsidePort(server: string): number {
    return this.#options.portBase + this.#servers.indexOf(server);
  }

  #socketOf(name: string): string {
    return join(this.#options.directory, `${name}.sock`);
  }

  #peersOf(name: string): RelayPeer[] {
    const { databaseUrl } = this.#options;
    const peer = (host: string, port: number, to: string): RelayPeer => ({
      name: to,
      host,
      port,
      socket: this.#socketOf(to),
    });
    if (name === outside) return this.#servers.map((server) => peer("127.0.0.1", this.#outsidePort(server), server));
    const others = this.#servers.filter((server) => server !== name);
    const servers = others
      // Controllers do not talk to each other.
      .filter((server) => !(name.startsWith("controller-") && server.startsWith("controller-")))
      .map((server) => peer(this.#hostOf(server), serverPort, server));
    if (!name.startsWith("controller-")) return servers;
    return [...servers, peer(databaseAddress, Number(new URL(databaseUrl).port), database)];
  }

  async #startRelay(name: string): Promise<void> {
    const { hostname, port } = new URL(this.#options.databaseUrl);
    const config: RelayConfig =
      name === outside
        ? {
            ownNetwork: false,
            address: undefined,
            peers: this.#peersOf(name),
            deliveries: [{ socket: this.#socketOf(database), host: hostname, port: Number(port) }],
          }
        : {
            ownNetwork: true,
            address: this.#hostOf(name),
            peers: this.#peersOf(name),
            deliveries: [{ socket: this.#socketOf(name), host: this.#hostOf(name), port: serverPort }],
          };
    const file = join(this.#options.directory, `${name}.json`);
    writeFileSync(file, JSON.stringify(config));
    const relay = new Relay(name, file, config.ownNetwork);
    this.#relays.set(name, relay);
    await relay.started;
  }

  #relay(name: string): Relay {
    const relay = this.#relays.get(name);
    assert.ok(relay !== undefined, `${name} has no network`);
    return relay;
  }
}

class Relay {
  readonly started: Promise<void>;
  readonly #name: string;
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  readonly #waiting = new Map<number, (answer: RelayAnswer) => void>();
  #commands = 0;

  constructor(name: string, configFile: string, ownNetwork: boolean) {
    this.#name = name;
    const command = [process.execPath, join(import.meta.dirname, "relay.ts"), configFile];
    const [program = "", ...args] = ownNetwork ? ["unshare", "--net", ...command] : command;
    const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.#child = child;
    this.#exited = exitOf(child);
    child.stdin.on("error", () => {});
    createInterface({ input: child.stdout }).on("line", (line) => {
      const answer = JSON.parse(line) as RelayAnswer;
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
    this.started = this.#answer(0);
  }

  get pid(): number {
    const { pid } = this.#child;
    assert.ok(pid !== undefined && this.#child.exitCode === null, `the relay of ${this.#name} does not run`);
    return pid;
  }

  async set(peer: string, state: LinkState): Promise<void> {
    this.#commands += 1;
    const command: RelayCommand = { id: this.#commands, peer, state };
    const answer = this.#answer(command.id);
    this.#child.stdin?.write(`${JSON.stringify(command)}\n`);
    await answer;
  }

  async stop(): Promise<void> {
    this.#child.stdin?.end();
    await within(answerLimitMs, `the relay of ${this.#name} to end`, this.#exited);
  }

  async #answer(id: number): Promise<void> {
    const answer = new Promise<RelayAnswer>((resolve) => this.#waiting.set(id, resolve));
    const { error } = await within(answerLimitMs, `an answer of the relay of ${this.#name}`, answer);
    assert.equal(error, undefined, `the relay of ${this.#name}`);
  }
}
