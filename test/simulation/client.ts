/**
 * A client: reads, pushes with the old values that it knows, creates, deletes and renames repositories, and writes
 * down what it asked, when, and what it was told. It knows nothing but answers.
 */
import type { ObjectId, RefName } from "../../src/protocol/ref-name.ts";
import type { RepositoryWithReplicas } from "../../src/store/store.ts";
import {
  changedNothing,
  type PushCommand,
  type PushReport,
  type PushRequest,
  type SimulatedController,
} from "./controller.ts";
import type { History } from "./history.ts";
import type { Invariants } from "./invariants.ts";
import type { Network } from "./network.ts";
import type { Objects } from "./objects.ts";
import type { Process } from "./process.ts";
import type { Random } from "./random.ts";

export interface ClientOptions {
  readonly process: Process;
  readonly network: Network;
  readonly objects: Objects;
  readonly random: Random;
  readonly history: History;
  readonly invariants: Invariants;
  readonly thinkMs: number;
  /** Share of its operations that change repositories as a whole. */
  readonly administration: number;
  /** The controllers' processes and, of each, what runs in it now. */
  readonly controllers: readonly { readonly process: Process; controller: SimulatedController | undefined }[];
  /** How many replicas a repository may be given. */
  readonly replicaCounts: readonly number[];
  /** Names of repositories that may be there. */
  readonly names: string[];
}

const refNames = ["refs/heads/main", "refs/heads/topic", "refs/heads/topic/deep", "refs/tags/v1"];
/** A client that waits longer goes away. */
const patienceMs = 30_000;

export class Client {
  readonly #options: ClientOptions;
  /** The refs that it saw last, by repository name, with those that it set since. */
  readonly #seen = new Map<string, Map<RefName, ObjectId>>();
  #working = true;
  #operation = 0;

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  /** Works until `stop`; resolves when the last operation has its answer. */
  async run(): Promise<void> {
    const { process, random, thinkMs } = this.#options;
    while (this.#working) {
      await process.pauseFor(random.around(thinkMs));
      this.#operation += 1;
      await this.#act();
    }
  }

  pause(ms: number): Promise<void> {
    return this.#options.process.pauseFor(ms);
  }

  stop(): void {
    this.#working = false;
  }

  async #act(): Promise<void> {
    const { random, names } = this.#options;
    const name = random.pick(names);
    const dice = random.next();
    if (dice < this.#options.administration) await this.#administer(name);
    else if (dice < 0.4) await this.read(name);
    else if (dice < 0.45) await this.#clone(name);
    else await this.#push(name);
  }

  /** Asks for the refs; false when there was no answer. */
  async read(name: string): Promise<boolean> {
    const { history, invariants } = this.#options;
    const invoked = history.now();
    try {
      const { found, refs } = await this.#call("read", async (controller) => {
        const found = await controller.find(name, "read");
        const refs = await controller.read(found);
        invariants.checkRead(found.repository.id, refs, invoked);
        return { found, refs };
      });
      this.#seen.set(name, new Map(refs));
      history.readAll(this.#options.process.name, found.repository.id, refs, invoked);
      return true;
    } catch {
      return false;
    }
  }

  async #clone(name: string): Promise<void> {
    try {
      await this.#call("clone", async (controller) => {
        const found = await controller.find(name, "read");
        const wants = new Set((await controller.read(found)).values());
        if (wants.size > 0) await controller.fetch(await controller.find(name, "read"), [...wants]);
      });
    } catch {
      // Nothing is promised while things are broken.
    }
  }

  /** Pushes to one ref, and tells whether that was accepted. */
  async write(name: string): Promise<boolean> {
    const seen = this.#seen.get(name) ?? new Map<RefName, ObjectId>();
    const oldOid = seen.get("refs/heads/last") ?? null;
    const newOid = this.#options.objects.create([...seen.values()]);
    const commands = [{ name: "refs/heads/last", oldOid, newOid }];
    const pack = { objects: [newOid], bases: [] };
    await this.#send(name, seen, { commands, atomic: false, pack, uploadMs: 0, breaksOff: false });
    return seen.get("refs/heads/last") === newOid;
  }

  async #push(name: string): Promise<void> {
    const seen = this.#seen.get(name);
    if (seen === undefined) await this.read(name);
    else await this.#send(name, seen, this.#compose(seen));
  }

  async #send(name: string, seen: Map<RefName, ObjectId>, push: PushRequest): Promise<void> {
    const { random, history, invariants, process } = this.#options;
    const invoked = history.now();
    const step = process.sim.step;
    const asked: { found?: RepositoryWithReplicas } = {};
    let report: PushReport | "nothing" | undefined;
    const what = `push ${push.commands.map(textOf).join(" ")}${push.atomic ? " atomic" : ""}`;
    try {
      report = await this.#call(what, async (controller) => {
        const found = await controller.find(name, "write");
        asked.found = found;
        const answer = await controller.push(found, push);
        const accepted = push.commands.filter((command) => isAccepted(answer, command));
        const values = accepted.flatMap(({ newOid }) => (newOid === null ? [] : [newOid]));
        const wanted = found.repository.replicasWanted;
        const quorum = wanted <= 2 ? 1 : Math.floor(wanted / 2) + 1;
        if (values.length > 0) invariants.checkAcknowledged(found.repository.id, values, quorum, step);
        return answer;
      });
    } catch (error) {
      report = changedNothing(error) ? "nothing" : undefined;
    }
    const { found } = asked;
    if (found === undefined) return;
    history.push(process.name, found.repository.id, push, report, invoked);
    if (report === undefined || report === "nothing") {
      // Who does not know looks, as people do.
      if (random.chance(0.5)) await this.read(name);
      return;
    }
    let refused = false;
    for (const command of push.commands) {
      if (!isAccepted(report, command)) refused = true;
      else if (command.newOid === null) seen.delete(command.name);
      else seen.set(command.name, command.newOid);
    }
    if (refused && random.chance(0.7)) await this.read(name);
  }

  #compose(seen: ReadonlyMap<RefName, ObjectId>): PushRequest {
    const { random, objects } = this.#options;
    const commands: PushCommand[] = [];
    const made: ObjectId[] = [];
    const count = random.pick([1, 1, 1, 1, 2, 3]);
    const names = refNames.toSorted(() => random.next() - 0.5).slice(0, count);
    for (const name of names) {
      const old = seen.get(name) ?? null;
      if (old !== null && random.chance(0.1)) {
        commands.push({ name, oldOid: old, newOid: null });
      } else if (seen.size > 0 && random.chance(0.08)) {
        // Back to an old commit, or to where another ref is: nothing new to send.
        const target = random.pick([...seen.values()]);
        const parents = objects.parentsOf(target);
        commands.push({
          name,
          oldOid: old,
          newOid: parents.length > 0 && random.chance(0.5) ? random.pick(parents) : target,
        });
      } else {
        let tip = old;
        for (let left = random.pick([1, 1, 2, 3]); left > 0; left -= 1) {
          const parents = tip === null ? [] : [tip];
          if (seen.size > 0 && random.chance(0.1)) parents.push(random.pick([...seen.values()]));
          tip = objects.create(parents);
          made.push(tip);
        }
        commands.push({ name, oldOid: old, newOid: tip });
      }
    }
    const bases =
      random.chance(0.6) && made.length > 0 ? commands.flatMap(({ oldOid }) => oldOid ?? []).slice(0, 1) : [];
    // What it believes to be there need not be: then it is sent again only in part of the cases, as git would not.
    const known = objects.reach(seen.values());
    const lost = [
      ...objects.reach(
        commands.flatMap(({ newOid }) => newOid ?? []),
        known,
      ),
    ].filter((id) => !made.includes(id));
    return {
      commands,
      atomic: random.chance(0.4),
      pack: { objects: [...lost, ...made], bases },
      uploadMs: random.chance(0.2) ? random.between(0, 3000) : random.around(2),
      breaksOff: random.chance(0.02),
    };
  }

  async #administer(name: string): Promise<void> {
    const { random, names, process } = this.#options;
    const fresh = `${process.name}-${this.#operation}`;
    const kind = random.pick(["create", "delete", "rename", "replicas", "replicas", "branch"] as const);
    try {
      await this.#call(`${kind} ${name}`, async (controller) => {
        const replicas = random.pick(this.#options.replicaCounts);
        if (kind === "create") return controller.create(fresh, replicas);
        const found = await controller.find(name, "write");
        switch (kind) {
          case "delete":
            // One is always to be there.
            if (names.length > 1) await controller.delete(found.repository);
            return found.repository;
          case "rename":
            return controller.update(found, { name: fresh });
          case "replicas":
            return controller.update(found, { replicasWanted: replicas });
          case "branch":
            return controller.update(found, { defaultBranch: random.pick(["refs/heads/main", "refs/heads/other"]) });
        }
      });
      if (kind === "create" || kind === "rename") names.push(fresh);
    } catch {
      // Either way, reads tell.
      if (kind === "rename") names.push(fresh);
    }
  }

  /** One request to one controller, with its answer. Rejects when there is none in time. */
  #call<T>(what: string, work: (controller: SimulatedController) => Promise<T>): Promise<T> {
    const { network, process, controllers, random } = this.#options;
    const place = random.pick(controllers);
    return network.call(process, place.process, what, { timeoutMs: patienceMs }, async () => {
      if (place.controller === undefined) throw new Error("it does not run");
      return work(place.controller);
    });
  }
}

function isAccepted(report: PushReport | undefined, { name }: PushCommand): boolean {
  return report?.refusals.has(name) === true && report.refusals.get(name) === undefined;
}

function textOf({ name, oldOid, newOid }: PushCommand): string {
  return `${name} ${oldOid?.slice(0, 8) ?? "none"}..${newOid?.slice(0, 8) ?? "none"}`;
}
