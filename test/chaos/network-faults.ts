/** Faults of the network, between any two: servers, clients, the database. */
import type { Fault, Stage } from "./nemesis.ts";
import type { Pair } from "./network.ts";
import type { LinkState } from "./relay-protocol.ts";

function keyOf([from, to]: Pair): string {
  return `link ${from} ${to}`;
}

/** All pairs between these two groups, whoever connects. */
function between(pairs: readonly Pair[], group: ReadonlySet<string>): Pair[] {
  return pairs.filter(([from, to]) => group.has(from) !== group.has(to));
}

async function apply(
  stage: Stage,
  links: readonly (readonly [Pair, LinkState])[],
  said: string,
  times: readonly [number, number],
): Promise<boolean> {
  if (links.length === 0 || !stage.claim(...links.map(([pair]) => keyOf(pair)))) return false;
  stage.say(said);
  try {
    await Promise.all(links.map(([pair, state]) => stage.network.set(pair, state)));
    await stage.hold(...times);
  } finally {
    await Promise.all(links.map(([pair]) => stage.network.set(pair, { kind: "good" })));
    stage.say(`over: ${said}`);
  }
  return true;
}

/** One link and, where the other end connects too, the one back. */
function bothWays(pairs: readonly Pair[], [from, to]: Pair): Pair[] {
  return pairs.filter(([a, b]) => (a === from && b === to) || (a === to && b === from));
}

function onOnePair(kind: string, times: readonly [number, number], stateOf: (stage: Stage) => LinkState): Fault {
  return {
    kind,
    run: async (stage) => {
      const pairs = stage.network.pairs();
      const pair = stage.random.pick(pairs);
      const state = stateOf(stage);
      const links = bothWays(pairs, pair).map((link) => [link, state] as const);
      return await apply(stage, links, `between ${pair.join(" and ")}: ${JSON.stringify(state)}`, times);
    },
  };
}

/** What one side sends arrives, answers do not. */
const oneWay: Fault = {
  kind: "one-way-partition",
  run: async (stage) => {
    const pairs = stage.network.pairs();
    const [from, to] = stage.random.pick(pairs);
    const links = bothWays(pairs, [from, to]).map((pair): [Pair, LinkState] => {
      const forward = pair[0] === from;
      return [pair, { kind: "hold", toPeer: forward, fromPeer: !forward }];
    });
    return await apply(stage, links, `nothing passes from ${from} to ${to}`, [1000, 8000]);
  },
};

const split: Fault = {
  kind: "split",
  run: async (stage) => {
    const { servers, random, network } = stage;
    const group = new Set(random.shuffled(servers.names).slice(0, random.between(1, servers.names.length - 1)));
    const links = between(network.pairs(), group).map((pair) => [pair, { kind: "unreachable" }] as const);
    // Clients and the database stay with all: else it would be an outage like any other.
    const inner = links.filter(([[from, to]]) => from !== "clients" && to !== "database");
    return await apply(stage, inner, `${[...group].join(", ")} apart from the other servers`, [1000, 8000]);
  },
};

const isolate: Fault = {
  kind: "isolate",
  run: async (stage) => {
    const server = stage.random.pick(stage.servers.names);
    const links = between(stage.network.pairs(), new Set([server])).map(
      (pair) => [pair, { kind: "unreachable" }] as const,
    );
    return await apply(stage, links, `${server} apart from everything`, [1000, 8000]);
  },
};

export const networkFaults: readonly Fault[] = [
  onOnePair("partition", [1000, 8000], () => ({ kind: "unreachable" })),
  oneWay,
  split,
  isolate,
  onOnePair("delay", [2000, 8000], ({ random }) => ({
    kind: "delay",
    delayMs: random.between(20, 600),
    jitterMs: random.between(0, 600),
  })),
  onOnePair("reset", [500, 5000], ({ random }) => ({ kind: "reset", bytesMax: random.pick([100, 5000, 200_000]) })),
  onOnePair("half-open", [500, 3000], ({ random }) => ({
    kind: "half-open",
    closed: random.pick(["server", "peer"] as const),
  })),
];
