/** What may survive a power loss of what was not synced, as rules; the random ones repeat by their seed. */
import type { Change, Survival } from "./disk.ts";

export interface Rule {
  readonly name: string;
  readonly survival: () => Survival;
}

const isOfNode = (change: Change): boolean => /^data\/node-\d+/.test(change.path);

export const rules = {
  synced: { name: "only what was synced", survival: () => () => 0 },
  store: {
    name: "the store's all, of the nodes what was synced",
    survival: () => (change) => (isOfNode(change) ? 0 : 1),
  },
  nodes: {
    name: "the nodes' all, of the store what was synced",
    survival: () => (change) => (isOfNode(change) ? 1 : 0),
  },
  /** As file systems do that journal names only: files are there, and empty. */
  names: {
    name: "every name, of the contents what was synced",
    survival: () => (change) => (change.kind === "entry" ? 1 : 0),
  },
  contents: {
    name: "every content, of the names what was synced",
    survival: () => (change) => (change.kind === "data" ? 1 : 0),
  },
} as const satisfies Record<string, Rule>;

/** Each change survives or not, or by half. */
export function anySubset(seed: number): Rule {
  return {
    name: `any subset, seed ${seed}`,
    survival: () => {
      const random = randomOf(seed);
      return () => {
        const value = random();
        if (value < 0.4) return 0;
        return value < 0.8 ? 1 : random();
      };
    },
  };
}

/** Names as they were a moment ago, each server's another one; contents in any state. `ended` is the moment of the loss. */
export function namesInOrder(seed: number, ended: number): Rule {
  return {
    name: `names in order, seed ${seed}`,
    survival: () => {
      const random = randomOf(seed);
      const since = new Map<string, number>();
      return (change) => {
        if (change.kind === "data") return random();
        const server = change.path.split("/").slice(0, 2).join("/");
        const moment = since.get(server) ?? ended - Math.floor(random() * windowLines);
        since.set(server, moment);
        return change.ended <= moment ? 1 : 0;
      };
    },
  };
}

/** Lines of the recording. */
const windowLines = 1500;

/** mulberry32: numbers in [0, 1). */
export function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
