/** gitmesh as `npm start` starts it: one controller, three repository servers, three replicas, the console. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "../test/support/wait.ts";
import { freePorts } from "../test/support/ports.ts";
import type { Cleanup } from "./cleanup.ts";
import type { GitClient } from "./git-client.ts";
import { cleanEnvironment, type Peer } from "./peers.ts";
import { newProcessTree, type ProcessTree } from "./process-tree.ts";
import { allRefs, diskBytes, type Source } from "./repositories.ts";
import { ServerProcess } from "./server-process.ts";

const program = join(import.meta.dirname, "../bin/gitmesh");
const nodes = 3;
const portsNeeded = 2 + nodes;
const readyMs = 300_000;

interface RepositoryView {
  readonly id: string;
  readonly generation: number;
  readonly nodes: readonly { readonly status: string; readonly generation: number }[];
}

export async function startGitmesh(directory: string, client: GitClient, cleanup: Cleanup): Promise<GitmeshPeer> {
  const portBase = await freePorts(portsNeeded);
  mkdirSync(directory, { recursive: true });
  const tree = newProcessTree("gitmesh");
  cleanup.add("the process tree of gitmesh", () => tree.remove());
  const data = join(directory, "data");
  const up = new ServerProcess([program, "up", "--data", data, "--port-base", String(portBase)], {
    tree,
    cwd: directory,
    env: cleanEnvironment(directory),
    logFile: join(directory, "up.log"),
  });
  cleanup.add("stopping gitmesh", () => up.stop());
  const url = `http://127.0.0.1:${portBase + 1}`;
  await waitFor(
    async () => {
      up.requireRunning();
      const known = (await (await fetch(`${url}/api/nodes`)).json()) as { readonly state: string }[];
      return known.filter(({ state }) => state === "ALIVE").length === nodes;
    },
    { what: "the cluster to be ready", limitMs: readyMs },
  );
  return new GitmeshPeer(data, url, tree, client);
}

export class GitmeshPeer implements Peer {
  readonly name = "gitmesh";
  readonly tree: ProcessTree;
  readonly serverCommands = /\/src\/(?:main|node\/git-forker)\.ts\b/;
  /** Of the controller. */
  readonly controller: string;
  readonly #data: string;
  readonly #client: GitClient;

  constructor(data: string, controller: string, tree: ProcessTree, client: GitClient) {
    this.#data = data;
    this.controller = controller;
    this.tree = tree;
    this.#client = client;
  }

  url(repository: string): string {
    return `${this.controller}/git/${repository}.git`;
  }

  async create(repository: string): Promise<void> {
    await this.#api("POST", repository);
  }

  async serve(repository: string, source: Source): Promise<void> {
    await this.#api("POST", repository, { defaultBranch: source.defaultBranch });
    await this.#client.git(["push", "-q", this.url(repository), ...allRefs], { cwd: source.directory });
    await waitFor(
      async () => {
        const view = await this.#api("GET", repository);
        return view.nodes.every(({ status, generation }) => status === "READY" && generation === view.generation);
      },
      { what: `every replica of ${repository} to be ready`, limitMs: readyMs },
    );
  }

  async remove(repository: string): Promise<void> {
    await this.#api("DELETE", repository);
  }

  async diskBytes(repository: string): Promise<number> {
    const { id } = await this.#api("GET", repository);
    const replicas = Array.from({ length: nodes }, (_, index) =>
      join(this.#data, `node-${index + 1}`, "replicas", id.slice(-2), `${id}.git`),
    );
    return await diskBytes(this.#client, ...replicas);
  }

  async #api(method: string, repository: string, body?: unknown): Promise<RepositoryView> {
    const answer = await fetch(`${this.controller}/api/repos/${repository}`, {
      method,
      ...(body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
    });
    const said = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${repository}: ${answer.status} ${said}`);
    return (said === "" ? {} : JSON.parse(said)) as RepositoryView;
  }
}
