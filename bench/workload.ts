/** What a workload is: data (rows, repositories) and a function that does one round of it on one peer. */
import { mkdirSync, mkdtempSync } from "node:fs";
import { join } from "node:path";
import type { GitClient } from "./git-client.ts";
import type { Load, LoadGenerator } from "./load.ts";
import type { Measurements, Row } from "./measurement.ts";
import type { Peer, PeerName } from "./peers.ts";
import type { Repositories, Source } from "./repositories.ts";
import type { Shape } from "./shapes.ts";

export interface Workload {
  /** For --only. */
  readonly name: string;
  readonly rows: readonly Row[];
  /** Repositories of each peer before the first round, by name. Workloads that name the same one share it. */
  readonly serves: Readonly<Record<string, Shape | Source>>;
  /** All, unless said otherwise. */
  readonly peers?: readonly PeerName[];
  /** Part of the short form. */
  readonly short: boolean;
  /** Most rounds, where one takes long. */
  readonly roundsMax?: number;
  /** Once, before the first round. Not measured. */
  prepare?(stage: Stage): Promise<void>;
  round(round: Round): Promise<void>;
}

export interface Sizes {
  readonly short: boolean;
  /** Of one sample of a load, in seconds. */
  readonly loadSeconds: number;
}

/** What workloads work with. */
export class Stage {
  readonly client: GitClient;
  readonly generator: LoadGenerator;
  readonly repositories: Repositories;
  readonly peers: readonly Peer[];
  readonly sizes: Sizes;
  readonly #directory: string;
  readonly #sources = new Map<string, Source>();
  readonly #served = new Map<string, Source>();
  readonly #advances = new Map<string, Advance>();

  constructor(parts: Pick<Stage, "client" | "generator" | "repositories" | "peers" | "sizes">, directory: string) {
    this.client = parts.client;
    this.generator = parts.generator;
    this.repositories = parts.repositories;
    this.peers = parts.peers;
    this.sizes = parts.sizes;
    this.#directory = directory;
    mkdirSync(directory, { recursive: true });
  }

  /** A path that does not exist yet, below an empty directory of its own. */
  path(): string {
    return join(mkdtempSync(join(this.#directory, "work-")), "repository");
  }

  async source(of: Shape | Source): Promise<Source> {
    if ("directory" in of) return of;
    const made = this.#sources.get(of.name) ?? (await this.repositories.generated(of));
    this.#sources.set(of.name, made);
    return made;
  }

  /** Puts a repository on every peer, unless it is there. */
  async serve(name: string, of: Shape | Source): Promise<void> {
    if (this.#served.has(name)) return;
    const source = await this.source(of);
    for (const peer of this.peers) await peer.serve(name, source);
    this.#served.set(name, source);
  }

  served(): string[] {
    return [...this.#served.keys()];
  }

  /** Pushes one new commit to the default branch: what was asked for before is asked anew. */
  async advance(peer: Peer, name: string): Promise<void> {
    const source = this.#served.get(name);
    if (source === undefined) throw new Error(`${name} is not served`);
    let advance = this.#advances.get(name);
    if (advance === undefined) {
      const commits = await this.repositories.commits(source, this.path(), advancesMax, "chain");
      advance = { ...commits, next: new Map() };
      this.#advances.set(name, advance);
    }
    const next = advance.next.get(peer.name) ?? 0;
    advance.next.set(peer.name, next + 1);
    const commit = advance.ids[next];
    if (commit === undefined) throw new Error(`more than ${advancesMax} pushes to ${name}`);
    await this.client.git(["push", "-q", peer.url(name), `${commit}:${source.defaultBranch}`], {
      cwd: advance.directory,
    });
  }
}

interface Advance {
  readonly directory: string;
  readonly ids: readonly string[];
  readonly next: Map<PeerName, number>;
}

const advancesMax = 300;

/** One round of a workload on one peer. */
export class Round {
  readonly stage: Stage;
  readonly peer: Peer;
  /** From 0. Each peer has each number once. */
  readonly number: number;
  readonly #measurements: Measurements;

  constructor(stage: Stage, peer: Peer, number: number, measurements: Measurements) {
    this.stage = stage;
    this.peer = peer;
    this.number = number;
    this.#measurements = measurements;
  }

  url(repository: string): string {
    return this.peer.url(repository);
  }

  /** Does it so many times, one after the other, each timed by itself. */
  async time(row: string, times: number, operation: (index: number) => Promise<unknown>): Promise<void> {
    await this.#measurements.take(row, this.peer, async () => {
      const seconds: number[] = [];
      for (let index = 0; index < times; index += 1) {
        const started = performance.now();
        await operation(index);
        seconds.push((performance.now() - started) / 1000);
      }
      return { seconds, operations: times };
    });
  }

  /** Does all at once, timed until the last has ended. */
  async timeTogether(row: string, count: number, operation: (index: number) => Promise<unknown>): Promise<void> {
    await this.time(row, 1, () => Promise.all(Array.from({ length: count }, (_, index) => operation(index))));
  }

  /** Requests per second, after a moment of warming up. The time of "one request" is the reciprocal. */
  async rate(row: string, load: Omit<Load, "seconds" | "connections">): Promise<void> {
    const { generator, sizes } = this.stage;
    await generator.run({ ...load, connections, seconds: 0 });
    await this.#measurements.take(row, this.peer, async () => {
      const { requests, seconds } = await generator.run({ ...load, connections, seconds: sizes.loadSeconds });
      return { seconds: [seconds / requests], operations: requests };
    });
  }
}

const connections = 8;
