/** Clients at work: writers, readers, and one who makes and deletes repositories, until they are told to stop. */
import { setTimeout as sleep } from "node:timers/promises";
import { callApi } from "../support/api.ts";
import type { GitClient } from "./git-client.ts";
import type { History } from "./history.ts";
import type { Random } from "./random.ts";

export interface WorkloadOptions {
  readonly history: History;
  readonly newClient: (name: string) => { readonly client: GitClient; readonly random: Random };
  /** Of the API, through one controller or the other. */
  readonly apiUrl: (random: Random) => string;
  readonly onViolation: (detail: string) => void;
}

/** At a time. */
const repositories = 3;
/** A repository with so many is left alone, and another takes its place: without maintenance each push is one more pack. */
const pushesMax = 250;
const sharedBranches = 2;
const passingBranches = 3;
const largeBytesMax = 4_000_000;
const pauseMsMax = 400;

type Actor = (client: GitClient, random: Random) => Promise<void>;

export class Workload {
  readonly #options: WorkloadOptions;
  readonly #stop = new AbortController();
  readonly #active: { name: string; pushes: number }[] = [];
  readonly #all: string[] = [];
  #named = 0;
  #running: Promise<unknown> = Promise.resolve();

  constructor(options: WorkloadOptions) {
    this.#options = options;
  }

  /** Every repository that was made and stays. */
  get repositories(): readonly string[] {
    return this.#all;
  }

  /** Resolves when there are repositories to work on; rejects when they cannot be made in time. */
  async start(): Promise<void> {
    while (this.#active.length < repositories) this.#active.push(await this.#newRepository());
    const actors: [string, number, (index: number) => Actor][] = [
      ["own", 3, (index) => this.#ownWriter(index)],
      ["shared", 3, () => this.#sharedWriter()],
      ["passing", 2, () => this.#passingWriter()],
      ["reader", 2, () => this.#reader()],
      ["cloner", 1, () => this.#cloner()],
      ["churn", 1, () => this.#churn()],
    ];
    const loops = actors.flatMap(([kind, count, make]) =>
      Array.from({ length: count }, (_, index) => this.#loop(`${kind}-${index + 1}`, make(index + 1))),
    );
    this.#running = Promise.all(loops);
  }

  /** Ends when the operations that run have returned. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #loop(name: string, actor: Actor): Promise<void> {
    const { client, random } = this.#options.newClient(name);
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await actor(client, random);
      } catch (error) {
        this.#options.onViolation(`${name} could not go on: ${String(error)}`);
      }
      await sleep(random.between(0, pauseMsMax), undefined, { signal }).catch(() => {});
    }
  }

  /** A branch of its own in each repository, with a tag now and then in the same push. */
  #ownWriter(number: number): Actor {
    const tips = new Map<string, string | null>();
    let tags = 0;
    return async (client, random) => {
      const repository = await this.#pickForPush(random);
      const ref = `refs/heads/own/${number}`;
      let tip = tips.get(repository) ?? null;
      if (!tips.has(repository) && this.#pushesOf(repository) > 1) {
        // After an outcome that is not known, or the first time.
        const refs = await client.lsRemote(repository);
        if (refs === undefined) return;
        tip = refs.get(ref) ?? null;
      }
      const large = random.chance(0.02);
      const bytes = large
        ? random.between(largeBytesMax / 2, largeBytesMax)
        : random.chance(0.3)
          ? random.between(1, 20_000)
          : 0;
      const commit = await client.commit(repository, tip, bytes);
      const changes = [{ ref, from: tip, to: commit }];
      if (random.chance(0.2)) {
        tags += 1;
        changes.push({ ref: `refs/tags/${client.name}/${tags}`, from: null, to: commit });
      }
      const outcome = await client.push(repository, large ? "push of a large pack" : "push to an own branch", changes);
      if (outcome === "ok") tips.set(repository, commit);
      else tips.delete(repository);
    };
  }

  /** A branch that several write to: fetched, a commit on top, pushed if nobody was quicker. */
  #sharedWriter(): Actor {
    return async (client, random) => {
      const repository = await this.#pickForPush(random);
      const refs = await client.fetch(repository, "refs/heads/shared/");
      if (refs === undefined) return;
      const ref = `refs/heads/shared/${random.between(1, sharedBranches)}`;
      const from = refs.get(ref) ?? null;
      const commit = await client.commit(repository, from, random.chance(0.3) ? 300 : 0);
      await client.push(repository, "push to a shared branch", [{ ref, from, to: commit }]);
    };
  }

  /** Branches that come, change and go. */
  #passingWriter(): Actor {
    return async (client, random) => {
      const repository = await this.#pickForPush(random);
      const refs = await client.fetch(repository, "refs/heads/passing/");
      if (refs === undefined) return;
      const ref = `refs/heads/passing/${random.between(1, passingBranches)}`;
      const from = refs.get(ref) ?? null;
      if (from !== null && random.chance(0.6)) {
        await client.push(repository, "delete of a branch", [{ ref, from, to: null }]);
      } else {
        const commit = await client.commit(repository, from, 0);
        await client.push(repository, "push to a passing branch", [{ ref, from, to: commit }]);
      }
    };
  }

  #reader(): Actor {
    return async (client, random) => {
      const { name } = random.pick(this.#active);
      if (random.chance(0.5)) await client.lsRemote(name);
      else await client.fetch(name, "refs/heads/");
    };
  }

  #cloner(): Actor {
    return async (client, random) => {
      await client.clone(random.pick(this.#active).name);
      await sleep(2000, undefined, { signal: this.#stop.signal }).catch(() => {});
    };
  }

  /** One repository after the other is made, pushed to and deleted; what was acknowledged is looked at. */
  #churn(): Actor {
    let number = 0;
    return async (client, random) => {
      number += 1;
      const name = `churn/${number % 5}-${number}`;
      if (!(await this.#create(name, random))) return;
      const commit = await client.commit(name, null, 100);
      await client.push(name, "push to a new repository", [{ ref: "refs/heads/master", from: null, to: commit }]);
      await client.lsRemote(name);
      await client.forget(name);
      await this.#delete(name, random);
      await sleep(1000, undefined, { signal: this.#stop.signal }).catch(() => {});
    };
  }

  async #pickForPush(random: Random): Promise<string> {
    const chosen = random.pick(this.#active);
    chosen.pushes += 1;
    if (chosen.pushes === pushesMax) {
      const index = this.#active.indexOf(chosen);
      const next = await this.#newRepository();
      if (next.name !== "") this.#active[index] = next;
      else chosen.pushes = pushesMax / 2;
    }
    return chosen.name;
  }

  #pushesOf(repository: string): number {
    return this.#active.find(({ name }) => name === repository)?.pushes ?? pushesMax;
  }

  async #newRepository(): Promise<{ name: string; pushes: number }> {
    this.#named += 1;
    const name = `work/${this.#named}`;
    const { random } = this.#options.newClient(`maker of ${name}`);
    if (!(await this.#create(name, random))) return { name: "", pushes: 0 };
    this.#all.push(name);
    return { name, pushes: 0 };
  }

  /** Tries until it is there for sure; false when the work ends before. */
  async #create(name: string, random: Random): Promise<boolean> {
    for (let attempt = 1; !this.#stop.signal.aborted; attempt += 1) {
      const status = await this.#call("POST", name, random);
      this.#options.history.count("create", outcomeOfStatus(status));
      if (status === 201 || (status === 409 && attempt > 1)) return true;
      if (status === 409) this.#options.onViolation(`${name} was there before it was made`);
      await sleep(500, undefined, { signal: this.#stop.signal }).catch(() => {});
    }
    return false;
  }

  async #delete(name: string, random: Random): Promise<void> {
    for (let attempt = 1; !this.#stop.signal.aborted; attempt += 1) {
      const status = await this.#call("DELETE", name, random);
      this.#options.history.count("delete", outcomeOfStatus(status));
      if (status === 204 || (status === 404 && attempt > 1)) break;
      if (status === 404) this.#options.onViolation(`${name} was made and is not there to be deleted`);
      await sleep(500, undefined, { signal: this.#stop.signal }).catch(() => {});
    }
    const status = await this.#call("GET", name, random);
    if (status === 200 && !this.#stop.signal.aborted) this.#options.onViolation(`${name} was deleted and is there`);
  }

  /** The status; 0 without an answer. */
  async #call(method: string, name: string, random: Random): Promise<number> {
    try {
      return (await callApi(`${this.#options.apiUrl(random)}/api/repos/${name}`, method)).status;
    } catch {
      return 0;
    }
  }
}

function outcomeOfStatus(status: number): string {
  if (status >= 200 && status < 300) return "ok";
  if (status === 0) return "unknown";
  return status >= 500 ? `failed (${status})` : `told ${status}`;
}
