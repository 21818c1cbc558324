/** `gitmesh repair ...` and `gitmesh cluster ...`, and the commands of `gitmesh repo` that are about repair. */
import { z } from "zod";
import { momentText, systemClock } from "../base/clock.ts";
import {
  apiPaths,
  copiesViewSchema,
  dataLossViewSchema,
  pageItemsMax,
  repairViewSchema,
  repositoryViewSchema,
  type CopiesView,
  type RepairView,
  type RepositoryView,
} from "../protocol/public-api.ts";
import { parseRepositoryName } from "../protocol/repository-name.ts";
import { ApiClient } from "./api-client.ts";
import { say, sizeText, table } from "./output.ts";

type Options = Record<string, string | boolean | undefined>;

const pollMs = 300;
const waitDefaultSeconds = 3600;

/** Exit status 1 when something needs a person. */
export async function status(options: Options): Promise<number> {
  const client = new ApiClient(options["url"]);
  const repair = repairViewSchema.parse((await client.call("GET", apiPaths.repair)).body);
  const asked = `${apiPaths.copies}?fresh=true&limit=${pageItemsMax}`;
  const { total, copies, unreachable } = copiesViewSchema.parse((await client.call("GET", asked)).body);
  if (options["json"] === true) say(JSON.stringify({ ...repair, copies, unreachable }, null, 2));
  else for (const part of statusText(repair, { total, copies, unreachable })) say(part);
  return repair.stuck.length > 0 || repair.work.some((work) => work.status === "QUARANTINED") ? 1 : 0;
}

function statusText(repair: RepairView, onDisks: Omit<CopiesView, "at">): string[] {
  const { scrub } = repair;
  const parts = [
    table([
      ["background work by", repair.leader ?? "no controller"],
      ["verified lately", `${scrub.verified} of ${scrub.replicas} complete replicas`],
      ["the longest ago", momentText(scrub.oldest)],
    ]),
  ];
  const section = (heading: readonly string[], rows: readonly (readonly string[])[]): void => {
    if (rows.length > 0) parts.push(`\n${table([heading, ...rows])}`);
  };
  section(
    ["REPOSITORY", "NODE", "STATUS", "NEXT", "SINCE", "REASON"],
    repair.work.map((work) => {
      const since = work.since < 0 ? "" : momentText(work.since);
      return [work.repository, work.url || work.nodeId, work.status ?? "", work.step, since, work.reason];
    }),
  );
  section(
    ["STUCK", "REASON"],
    repair.stuck.map(({ repository, reason }) => [repository, reason]),
  );
  section(
    ["COPY", "NODE", "NAME", "ID", "SINCE", "SIZE", "REASON"],
    onDisks.copies.map((copy) => {
      const since = copy.since < 0 ? "" : momentText(copy.since);
      return [copy.kind, copy.url, copy.name, copy.repositoryId, since, sizeText(copy.size), copy.reason];
    }),
  );
  const more = onDisks.total - onDisks.copies.length;
  if (more > 0) parts.push(`and ${more} more`);
  section(
    ["NO ANSWER FROM"],
    onDisks.unreachable.map((url) => [url]),
  );
  if (parts.length === 1) parts.push("\nNothing to repair.");
  return parts;
}

/** Exit status 1 when there are any. */
export async function dataLoss(options: Options): Promise<number> {
  const { body } = await new ApiClient(options["url"]).call("GET", apiPaths.dataLoss);
  const risks = z.array(dataLossViewSchema).parse(body);
  if (options["json"] === true) say(JSON.stringify(body, null, 2));
  else if (risks.length === 0) say("Every repository has its wanted number of complete copies within reach.");
  else {
    const rows = risks.map((risk) => [
      risk.name,
      String(risk.generation),
      `${risk.reachable}/${risk.wanted}`,
      `${risk.complete}/${risk.wanted}`,
      risk.nodes.map(({ url, status: state }) => `${url} ${state}`).join(", "),
    ]);
    say(table([["REPOSITORY", "GENERATION", "IN REACH", "COMPLETE", "REPLICAS"], ...rows]));
  }
  return risks.length > 0 ? 1 : 0;
}

/** Waits until each replica that is complete was read as a whole. Exit status 1 when not all are sound. */
export async function verify(name: string, options: Options): Promise<number> {
  const client = new ApiClient(options["url"]);
  const path = apiPaths.repository(parseRepositoryName(name));
  const answer = await client.call("POST", apiPaths.verifyRepository(name));
  let repository = repositoryViewSchema.parse(answer.body);
  const endMs = systemClock.monotonicMs() + 1000 * secondsOf(options);
  // What is found is repaired at once: the reason may be gone before the last replica is verified.
  const reasons = new Map<string, string>();
  for (;;) {
    for (const { url, reason } of repository.nodes) if (reason !== "") reasons.set(url, reason);
    if (!isAsked(repository)) break;
    if (systemClock.monotonicMs() > endMs) throw new Error(`Not verified in time; see gitmesh repair status.`);
    await systemClock.sleep(pollMs);
    repository = repositoryViewSchema.parse((await client.call("GET", path)).body);
  }
  if (options["json"] === true) say(JSON.stringify(repository, null, 2));
  else {
    const rows = repository.nodes.map((node) => [
      node.url,
      isSound(node) && !reasons.has(node.url) ? "sound" : "not sound",
      node.status,
      momentText(node.verifiedAt),
      reasons.get(node.url) ?? "",
    ]);
    say(table([["NODE", "VERDICT", "STATUS", "VERIFIED", "REASON"], ...rows]));
  }
  return reasons.size === 0 && repository.nodes.every(isSound) ? 0 : 1;
}

type ReplicaView = RepositoryView["nodes"][number];

/** Asked for and not done; one with a reason was found damaged and stays, as it is the only copy. */
function isAsked({ nodes }: RepositoryView): boolean {
  return nodes.some(({ status: state, verifiedAt, reason }) => state === "READY" && verifiedAt < -1 && reason === "");
}

function isSound({ status: state, verifiedAt, reason }: ReplicaView): boolean {
  return state === "READY" && verifiedAt >= 0 && reason === "";
}

function secondsOf(options: Options): number {
  const given = options["wait"];
  if (typeof given !== "string") return waitDefaultSeconds;
  if (!/^\d{1,7}$/.test(given)) throw new Error(`--wait: ${given} is no number of seconds.`);
  return Number(given);
}

export async function rebuild(name: string, options: Options): Promise<void> {
  const node = options["node"];
  if (typeof node !== "string") throw new Error("Say which repository server's copy: --node HOST:PORT.");
  const client = new ApiClient(options["url"]);
  const { body } = await client.call("POST", apiPaths.rebuildRepository(parseRepositoryName(name), node));
  if (options["json"] === true) say(JSON.stringify(body, null, 2));
  else say(`The copy of ${name} on ${node} is moved aside and filled anew; see gitmesh repo show ${name}.`);
}
