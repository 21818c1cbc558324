/** `gitmesh repo ...` */
import { z } from "zod";
import { momentText } from "../base/clock.ts";
import { flagOf } from "../base/config.ts";
import { parseRepositoryName } from "../protocol/repository-name.ts";
import { apiPaths, repositoryViewSchema, type RepositoryView } from "../protocol/public-api.ts";
import { ApiClient } from "./api-client.ts";
import { confirmName } from "./confirmation.ts";
import { say, sizeText, table } from "./output.ts";

type Options = Record<string, string | boolean | undefined>;

export async function create(name: string, options: Options): Promise<void> {
  const client = new ApiClient(options["url"]);
  const { body } = await client.call("POST", apiPaths.repository(parseRepositoryName(name)), bodyOf(options));
  if (options["json"] === true) sayJson(body);
  else say(`Created ${name}: ${repositoryViewSchema.parse(body).cloneUrl}`);
}

export async function list(options: Options): Promise<void> {
  const client = new ApiClient(options["url"]);
  const query = new URLSearchParams();
  for (const key of ["contains", "state", "sort"]) if (typeof options[key] === "string") query.set(key, options[key]);
  const repositories: RepositoryView[] = [];
  let next: string | undefined = `${apiPaths.repositories}${query.size > 0 ? `?${query.toString()}` : ""}`;
  while (next !== undefined) {
    const page = await client.call("GET", next);
    repositories.push(...z.array(repositoryViewSchema).parse(page.body));
    next = page.next;
  }
  if (options["json"] === true) {
    sayJson(repositories);
    return;
  }
  if (repositories.length === 0) {
    say("No repositories. Make one with: gitmesh repo create NAME");
    return;
  }
  const rows = repositories.map((repository) => [
    repository.name,
    `${readyOf(repository)}/${repository.replicas}`,
    String(repository.generation),
    sizeText(repository.size),
    momentText(repository.timestamp),
  ]);
  say(table([["NAME", "READY", "GENERATION", "SIZE", "LAST PUSH"], ...rows]));
}

export async function show(name: string, options: Options): Promise<void> {
  const client = new ApiClient(options["url"]);
  const { body } = await client.call("GET", apiPaths.repository(parseRepositoryName(name)));
  if (options["json"] === true) {
    sayJson(body);
    return;
  }
  const repository = repositoryViewSchema.parse(body);
  say(
    table([
      ["name", repository.name],
      ["description", repository.description],
      ["clone URL", repository.cloneUrl],
      ["default branch", repository.defaultBranch],
      ["object format", repository.objectFormat],
      ["generation", String(repository.generation)],
      ["last push", momentText(repository.timestamp)],
      ["size", sizeText(repository.size)],
      ["replicas", `${readyOf(repository)} of ${repository.replicas} READY`],
      ["deny deletes", String(repository.denyDeletes)],
      ["deny non-fast-forwards", String(repository.denyNonFastForwards)],
    ]),
  );
  say("");
  const rows = repository.nodes.map((node) => [
    node.url + (node.url === repository.primaryNode ? " (primary)" : ""),
    node.status,
    String(node.generation),
    momentText(node.verifiedAt),
    node.reason,
  ]);
  say(table([["NODE", "STATUS", "GENERATION", "VERIFIED", "REASON"], ...rows]));
}

export async function change(name: string, options: Options): Promise<void> {
  const body = bodyOf(options);
  if (Object.keys(body).length === 0) throw new Error("Nothing to set; see gitmesh repo set --help.");
  const client = new ApiClient(options["url"]);
  const answer = await client.call("PATCH", apiPaths.repository(parseRepositoryName(name)), body);
  if (options["json"] === true) sayJson(answer.body);
  else say(`Changed ${repositoryViewSchema.parse(answer.body).name}.`);
}

export async function remove(name: string, options: Options): Promise<number> {
  const client = new ApiClient(options["url"]);
  const path = apiPaths.repository(parseRepositoryName(name));
  if (options["yes"] !== true && !(await confirmName(name, "delete"))) return 1;
  await client.call("DELETE", path);
  if (options["json"] === true) sayJson({ deleted: name });
  else say(`Deleted ${name}.`);
  return 0;
}

function bodyOf(options: Options): Record<string, unknown> {
  const body: Record<string, unknown> = {};
  for (const key of ["name", "defaultBranch", "objectFormat", "description"]) {
    if (typeof options[key] === "string") body[key] = options[key];
  }
  if (typeof options["replicas"] === "string") {
    if (!/^\d+$/.test(options["replicas"])) throw new Error(`--replicas: ${options["replicas"]} is no number.`);
    body["replicas"] = Number(options["replicas"]);
  }
  for (const key of ["denyDeletes", "denyNonFastForwards"]) {
    const value = options[key];
    if (value === undefined) continue;
    if (value !== "true" && value !== "false")
      throw new Error(`${flagOf(key)}: ${String(value)} is neither true nor false.`);
    body[key] = value === "true";
  }
  return body;
}

function readyOf(repository: RepositoryView): number {
  return repository.nodes.filter((node) => node.status === "READY").length;
}

function sayJson(value: unknown): void {
  say(JSON.stringify(value, null, 2));
}
