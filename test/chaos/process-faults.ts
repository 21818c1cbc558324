/** Faults of processes, of the database and of clocks. */
import type { Fault, Stage } from "./nemesis.ts";

/** Longer than a node's death timeout and the repair's grace time together. */
const longMs = [15_000, 20_000] as const;
const clockOffsetsSeconds = [-86_400, -3600, -30, -3, 3, 30, 3600, 86_400];

/** One of the servers that no other fault has. */
function pickServer({ random, claim }: Stage, names: readonly string[]): string | undefined {
  return random.shuffled(names).find((name) => claim(name));
}

function kill(kind: string, namesOf: (stage: Stage) => readonly string[], times: readonly [number, number]): Fault {
  return {
    kind,
    run: async (stage) => {
      const server = pickServer(stage, namesOf(stage));
      if (server === undefined) return false;
      stage.say(`kill -9 of ${server}`);
      await stage.servers.kill(server);
      await stage.hold(...times);
      stage.servers.start(server);
      stage.say(`${server} starts`);
      return true;
    },
  };
}

const killSeveral: Fault = {
  kind: "kill-several",
  run: async (stage) => {
    const { servers, random } = stage;
    const wanted = random.shuffled(servers.names).slice(0, random.between(2, servers.names.length));
    const killed = wanted.filter((server) => stage.claim(server));
    if (killed.length < 2) return false;
    stage.say(`kill -9 of ${killed.join(", ")}`);
    await Promise.all(killed.map((server) => servers.kill(server)));
    await stage.hold(100, 3000);
    for (const server of random.shuffled(killed)) servers.start(server);
    stage.say(`${killed.join(", ")} start`);
    return true;
  },
};

function pause(kind: string, namesOf: (stage: Stage) => readonly string[]): Fault {
  return {
    kind,
    run: async (stage) => {
      const server = pickServer(stage, namesOf(stage));
      if (server === undefined) return false;
      const withChildren = stage.random.chance(0.5);
      stage.say(`SIGSTOP of ${server}${withChildren ? " and all that it runs" : ""}`);
      stage.servers.pause(server, withChildren);
      await stage.hold(500, 9000);
      stage.servers.resume(server);
      stage.say(`SIGCONT of ${server}`);
      return true;
    },
  };
}

function restartDatabase(kind: string, end: (stage: Stage) => Promise<void>): Fault {
  return {
    kind,
    run: async (stage) => {
      if (!stage.claim("database")) return false;
      stage.say("the database ends");
      await end(stage);
      await stage.hold(100, 5000);
      await stage.database.restart();
      stage.say("the database is back");
      return true;
    },
  };
}

const clockJump: Fault = {
  kind: "clock-jump",
  run: async (stage) => {
    const server = stage.random.shuffled(stage.servers.names).find((name) => stage.claim(`clock of ${name}`));
    if (server === undefined) return false;
    const seconds = stage.random.pick(clockOffsetsSeconds);
    stage.say(`${server}'s clock jumps by ${seconds} s`);
    stage.servers.setClock(server, seconds);
    await stage.hold(2000, 10_000);
    stage.servers.setClock(server, 0);
    stage.say(`${server}'s clock jumps back`);
    return true;
  },
};

export const processFaults: readonly Fault[] = [
  kill("kill-node", ({ servers }) => servers.nodes, [100, 6000]),
  kill("kill-controller", ({ servers }) => servers.controllers, [100, 6000]),
  kill("long-outage", ({ servers }) => servers.nodes, longMs),
  killSeveral,
  pause("pause-node", ({ servers }) => servers.nodes),
  pause("pause-controller", ({ servers }) => servers.controllers),
  restartDatabase("kill-database", ({ database }) => database.crash()),
  restartDatabase("stop-database", ({ database }) => database.shutDown()),
  clockJump,
];
