/** `gitmesh repo adopt`: shows what an adoption would do, asks, and does exactly that. */
import { z } from "zod";
import { parseRepositoryName } from "../protocol/repository-name.ts";
import {
  adoptableViewSchema,
  adoptionPlanViewSchema,
  apiPaths,
  repositoryViewSchema,
  type AdoptionPlanView,
} from "../protocol/public-api.ts";
import { ApiClient } from "./api-client.ts";
import { confirmName } from "./confirmation.ts";
import { say, table, warn } from "./output.ts";

type Options = Record<string, string | boolean | undefined>;

const refsShownMax = 50;
const oidCharacters = 12;

export async function adopt(name: string | undefined, options: Options): Promise<number> {
  const client = new ApiClient(options["url"]);
  if (name === undefined) return list(client, options);
  const path = apiPaths.adoption(parseRepositoryName(name));
  const from = typeof options["from"] === "string" ? options["from"] : undefined;
  const query = from === undefined ? "" : `?${new URLSearchParams({ from }).toString()}`;
  const { body } = await client.call("GET", path + query);
  const plan = adoptionPlanViewSchema.parse(body);
  const json = options["json"] === true;
  if (plan.problem !== "" || !json) (json ? warn : say)(planText(plan));
  if (plan.problem !== "") {
    warn(`\nNothing was changed: ${plan.problem}.`);
    return 1;
  }
  if (options["yes"] !== true && !(await confirmName(plan.name, "adopt"))) return 1;
  const answer = await client.call("POST", path, { digest: plan.digest, ...(from === undefined ? {} : { from }) });
  if (json) {
    say(JSON.stringify(answer.body, null, 2));
    return 0;
  }
  const { nodes, generation } = repositoryViewSchema.parse(answer.body);
  const ready = nodes.filter(({ status }) => status === "READY").length;
  say(`\nAdopted ${plan.name} at generation ${generation}: ${ready} of ${nodes.length} replicas READY.`);
  return 0;
}

async function list(client: ApiClient, options: Options): Promise<number> {
  const { body } = await client.call("GET", apiPaths.adoptions);
  if (options["json"] === true) {
    say(JSON.stringify(body, null, 2));
    return 0;
  }
  const found = z.array(adoptableViewSchema).parse(body);
  if (found.length === 0) {
    say("No replica is ahead of the metadata store, and no repository server has a repository that it does not know.");
    return 0;
  }
  const rows = found.map(({ name, kind, storeGeneration, seenGeneration, repositoryId }) => {
    const what = kind === "behind" ? "replicas are ahead" : "not in the metadata store";
    return [name, what, generationText(storeGeneration), generationText(seenGeneration), repositoryId];
  });
  say(table([["NAME", "WHAT", "STORE", "REPLICAS", "ID"], ...rows]));
  return 0;
}

function planText(plan: AdoptionPlanView): string {
  const copies = plan.copies.map(({ url, generation, refs, after, problem }) => {
    return [url, generationText(generation), refs === "" ? "-" : refs, plan.problem === "" ? after : "-", problem];
  });
  const title =
    plan.kind === "orphan"
      ? `${plan.name} is not in the metadata store; these copies of it were found:`
      : `The metadata store has ${plan.name} at generation ${plan.storeGeneration}; its replicas:`;
  const lines = [title, "", table([["NODE", "GENERATION", "REFS", "AFTERWARDS", "PROBLEM"], ...copies])];
  if (plan.problem !== "") return lines.join("\n");
  const refs = plan.refs.slice(0, refsShownMax).map(({ name, kind, from, to }) => [kind, name, valuesText(from, to)]);
  const count = plan.added + plan.changed + plan.removed;
  lines.push(
    "",
    `Adopting takes over generation ${plan.generation}; the repository goes on at generation ${plan.newGeneration}.`,
    `Refs added: ${plan.added}, changed: ${plan.changed}, removed: ${plan.removed}.`,
    ...(refs.length === 0 ? [] : [table(refs)]),
    ...(count > refs.length ? [`... and ${count - refs.length} more`] : []),
  );
  return lines.join("\n");
}

function valuesText(from: string | null, to: string | null): string {
  return [from, to]
    .filter((oid) => oid !== null)
    .map((oid) => oid.slice(0, oidCharacters))
    .join(" -> ");
}

function generationText(generation: number): string {
  return generation < 0 ? "-" : String(generation);
}
