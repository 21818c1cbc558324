/** What must hold of a cluster after a power loss, looked at while nothing runs. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { openStore } from "../../src/store/open-store.ts";
import type { NodeRecord, Replica, Store } from "../../src/store/store.ts";
import type { Image } from "./image.ts";
import type { Promised } from "./recording.ts";
import { brokenReplica, type ReplicaKnown } from "./replica-check.ts";

interface FoundRepository extends Pick<ReplicaKnown, "generation" | "refs" | "log"> {
  readonly id: string;
  readonly name: string;
  readonly replicas: readonly Replica[];
  /** Of all that a replica is compared with. */
  readonly digest: string;
}

interface FoundStore {
  readonly repositories: readonly FoundRepository[];
  readonly nodes: readonly NodeRecord[];
}

/** Looks into images of one recording. What was looked at is not looked at again. */
export class Inspector {
  readonly #scratch: string;
  readonly #stores = new Map<string, Promise<FoundStore>>();
  readonly #replicas = new Map<string, Promise<readonly string[]>>();
  #written = 0;

  /** `scratch`: a directory for what is looked at. */
  constructor(scratch: string) {
    this.#scratch = scratch;
  }

  /** Every promise that does not hold, in words. `made` are the promises until then, `next` may be half-way. */
  async broken(image: Image, made: readonly Promised[], next: Promised | undefined): Promise<string[]> {
    const store = await this.#store(image);
    const directories = directoriesOf(image);
    const broken = brokenIn(store.repositories, made, next);
    for (const { id, url } of store.nodes) {
      if (!directories.has(id)) broken.push(`the node ${id} at ${url} has lost its identity`);
    }
    for (const repository of store.repositories) {
      const checks = repository.replicas.map((replica) => this.#replica(image, repository, replica, directories));
      broken.push(...(await Promise.all(checks)).flat());
    }
    return broken;
  }

  #store(image: Image): Promise<FoundStore> {
    const files = ["data/gitmesh.sqlite", "data/gitmesh.sqlite-wal"].filter((file) => image.has(file));
    const key = files.map((file) => image.digest(file)).join(" ");
    return once(this.#stores, key, () =>
      this.#below(async (directory) => {
        for (const file of files) image.write(file, directory);
        return await readStore(join(directory, "data/gitmesh.sqlite"));
      }),
    );
  }

  async #replica(
    image: Image,
    { id, name, digest, ...repository }: FoundRepository,
    replica: Replica,
    directories: ReadonlyMap<string, string>,
  ): Promise<readonly string[]> {
    const node = directories.get(replica.nodeId);
    const path = `${node}/replicas/${id.slice(-2)}/${id}.git`;
    const ready = replica.state === "READY";
    const broken =
      node !== undefined && image.has(path)
        ? await once(this.#replicas, [image.digest(path), replica.state, replica.generation, digest].join(" "), () =>
            this.#below(async (directory) => {
              image.write(path, directory);
              return await brokenReplica(join(directory, path), {
                ...repository,
                ready,
                confirmed: replica.generation,
              });
            }),
          )
        : ready || replica.generation >= 0
          ? ["it is not on the disk"]
          : [];
    return broken.map((text) => `${replica.state} replica of ${name} on ${node ?? replica.nodeId}: ${text}`);
  }

  async #below<T>(look: (directory: string) => Promise<T>): Promise<T> {
    this.#written += 1;
    const directory = join(this.#scratch, `look-${this.#written}`);
    try {
      return await look(directory);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }
}

function once<T>(known: Map<string, Promise<T>>, key: string, look: () => Promise<T>): Promise<T> {
  const found = known.get(key) ?? look();
  known.set(key, found);
  return found;
}

/** Nodes by id: their directories. */
function directoriesOf(image: Image): Map<string, string> {
  const directories = new Map<string, string>();
  for (const name of image.list("data").filter((entry) => entry.startsWith("node-"))) {
    const id = /"id":"([^"]+)"/.exec(image.text(`data/${name}/identity.json`) ?? "")?.[1];
    if (id !== undefined) directories.set(id, `data/${name}`);
  }
  return directories;
}

async function readStore(file: string): Promise<FoundStore> {
  const store = await openStore(`sqlite:${file}`);
  try {
    // What has no tables yet is empty.
    await store.migrate();
    const repositories: FoundRepository[] = [];
    for (const { repository, replicas } of (await store.listRepositories({ limit: 100 })).items) {
      const { id, name } = repository;
      const known = await readRefs(store, id);
      const digest = JSON.stringify([known.generation, ...known.refs]);
      repositories.push({ id, name, replicas, digest, ...known });
    }
    return { repositories, nodes: await store.listNodes() };
  } finally {
    await store.close();
  }
}

async function readRefs(store: Store, id: string): Promise<Pick<ReplicaKnown, "generation" | "refs" | "log">> {
  const { generation, refs } = await store.readRefs(id);
  const entries = await store.readRefLog(id, 0, 10_000);
  const log = entries.map(
    (entry) => [entry.generation, entry.changes.map(({ name, newOid }) => [name, newOid] as const)] as const,
  );
  return { generation, refs: new Map(refs.map(({ name, oid }) => [name, oid])), log: new Map(log) };
}

/** What clients were told, against what the store has. */
function brokenIn(
  repositories: readonly FoundRepository[],
  made: readonly Promised[],
  next: Promised | undefined,
): string[] {
  const names = [...new Set(made.map(({ repository }) => repository))];
  return names.flatMap((name) => {
    const own = made.filter(({ repository }) => repository === name);
    const exists = own.at(-1)?.exists === true;
    const found = repositories.find((repository) => repository.name === name);
    const half = next?.repository === name ? next : undefined;
    if (exists && found !== undefined) return wrongValues(found, own, half);
    if (exists) return half?.exists === false ? [] : [`${name} was acknowledged and is lost`];
    return found === undefined || half?.exists === true ? [] : [`${name} was deleted and is back`];
  });
}

/** Refs that are neither as acknowledged nor as the push that is under way has them. */
function wrongValues(found: FoundRepository, own: readonly Promised[], half: Promised | undefined): string[] {
  const wanted = new Map(own.flatMap(({ refs }) => Object.entries(refs)));
  const names = new Set([...wanted.keys(), ...found.refs.keys()]);
  return [...names]
    .filter((name) => {
      const value = found.refs.get(name) ?? null;
      return value !== (wanted.get(name) ?? null) && value !== half?.refs[name];
    })
    .map((name) => `${name} of ${found.name} was acknowledged as ${wanted.get(name)} and is ${found.refs.get(name)}`);
}
