/** One measured thing: its time, and what the server used meanwhile and until it had finished what follows its answers. */
import type { Peer, PeerName } from "./peers.ts";
import type { ProcessTree } from "./process-tree.ts";

export interface Target {
  /** gitmesh's time divided by the baseline's, at most. */
  readonly time?: number;
  /** gitmesh's requests per second divided by the baseline's, at least. */
  readonly rate?: number;
  /** CPU of gitmesh's whole process tree divided by that of the baseline's, at most. */
  readonly cpu?: number;
}

export interface Row {
  readonly id: string;
  readonly title: string;
  readonly kept?: Target;
  readonly plain?: Target;
}

/** What one peer showed in one row. Times of one operation (of a rate: of one request at that rate), in seconds. */
export interface Samples {
  /** In the order in which they were taken. */
  readonly seconds: number[];
  readonly cpuSeconds: number[];
  /** Highest private memory of the whole tree, sampled. */
  privateBytes: number;
  /** Highest resident memory of one server process, as the kernel keeps it. */
  serverBytes: number;
}

export interface Measured {
  /** Seconds of each operation. */
  readonly seconds: readonly number[];
  /** What the CPU time is divided by. */
  readonly operations: number;
}

const sampleMs = 100;

/** All samples of a run, by row and peer. */
export class Measurements {
  readonly #samples = new Map<string, Map<PeerName, Samples>>();
  readonly #trees: readonly ProcessTree[];

  constructor(trees: readonly ProcessTree[]) {
    this.#trees = trees;
  }

  of(row: string, peer: PeerName): Samples | undefined {
    return this.#samples.get(row)?.get(peer);
  }

  rows(): string[] {
    return [...this.#samples.keys()];
  }

  /** Takes one sample of CPU and memory, and one of time for each operation. */
  async take(row: string, peer: Peer, operation: () => Promise<Measured>): Promise<void> {
    // What the one before left to be done is not this one's.
    for (const tree of this.#trees) await tree.settle();
    const { tree } = peer;
    tree.resetPeaks();
    const samples = this.#samplesOf(row, peer.name);
    const notePrivate = (): void => {
      samples.privateBytes = Math.max(samples.privateBytes, tree.privateBytes());
    };
    const sampler = setInterval(notePrivate, sampleMs);
    try {
      const cpuBefore = tree.cpuSeconds();
      const measured = await operation();
      const answeredMs = performance.now();
      await tree.settle();
      // While it settled, it also did what it does when idle.
      const idle = (tree.idleCores * (performance.now() - answeredMs)) / 1000;
      const used = Math.max(0, tree.cpuSeconds() - cpuBefore - idle);
      samples.seconds.push(...measured.seconds);
      samples.cpuSeconds.push(used / measured.operations);
    } finally {
      clearInterval(sampler);
    }
    notePrivate();
    const peaks = tree.resident(peer.serverCommands).map(({ peak }) => peak);
    samples.serverBytes = Math.max(samples.serverBytes, ...peaks);
  }

  #samplesOf(row: string, peer: PeerName): Samples {
    const peers = this.#samples.get(row) ?? new Map<PeerName, Samples>();
    this.#samples.set(row, peers);
    const samples = peers.get(peer) ?? { seconds: [], cpuSeconds: [], privateBytes: 0, serverBytes: 0 };
    peers.set(peer, samples);
    return samples;
  }
}
