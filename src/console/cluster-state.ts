/** The state of the cluster, as the first controller that answers tells it. */
import { Agent, request } from "undici";
import { z } from "zod";
import { GitmeshError, messageOf } from "../base/errors.ts";
import {
  apiPaths,
  clusterViewSchema,
  nodeViewSchema,
  repositoryViewSchema,
  type ClusterView,
  type NodeView,
  type RepositoryView,
} from "../protocol/public-api.ts";

export type ClusterState =
  | {
      readonly kind: "reached";
      /** Of the controller that answered. */
      readonly url: string;
      readonly cluster: ClusterView;
      /** Without the names of their repositories; undefined while the controller cannot say, as without its store. */
      readonly nodes: readonly NodeView[] | undefined;
      /** The first ones by name. */
      readonly repositories: readonly RepositoryView[] | undefined;
    }
  | { readonly kind: "unreachable"; readonly failures: readonly string[] };

const callMs = 3000;
const repositoriesShown = 100;

export class ClusterStateReader {
  readonly #controllers: readonly string[];
  readonly #agent = new Agent({ connectTimeout: callMs, headersTimeout: callMs, bodyTimeout: callMs });

  constructor(controllers: readonly string[]) {
    this.#controllers = controllers;
  }

  async read(): Promise<ClusterState> {
    const failures: string[] = [];
    for (const url of this.#controllers) {
      try {
        const cluster = await this.#get(url, apiPaths.cluster, clusterViewSchema);
        const [nodes, repositories] = await Promise.all([
          unlessRefused(this.#get(url, `${apiPaths.nodes}?repos=false`, z.array(nodeViewSchema))),
          unlessRefused(
            this.#get(url, `${apiPaths.repositories}?limit=${repositoriesShown}`, z.array(repositoryViewSchema)),
          ),
        ]);
        return { kind: "reached", url, cluster, nodes, repositories };
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        failures.push(`${url}: ${messageOf(error) || (code ?? "no connection")}`);
      }
    }
    return { kind: "unreachable", failures };
  }

  close(): Promise<void> {
    return this.#agent.destroy();
  }

  async #get<T>(url: string, path: string, schema: z.ZodType<T>): Promise<T> {
    const answer = await request(`${url}${path}`, { dispatcher: this.#agent });
    if (answer.statusCode !== 200) {
      await answer.body.dump();
      throw new GitmeshError("busy", `it answered with status ${answer.statusCode}`);
    }
    return schema.parse(await answer.body.json());
  }
}

/** undefined for an answer that is an error: the controller is there, but cannot say. */
async function unlessRefused<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof GitmeshError) return undefined;
    throw error;
  }
}
