/** `gitmesh node list|show|remove` */
import { z } from "zod";
import { momentText } from "../base/clock.ts";
import { apiPaths, nodeViewSchema } from "../protocol/public-api.ts";
import { ApiClient } from "./api-client.ts";
import { say, table } from "./output.ts";

type Options = Record<string, string | boolean | undefined>;

export async function list(options: Options): Promise<void> {
  const { body } = await new ApiClient(options["url"]).call("GET", apiPaths.nodes);
  if (options["json"] === true) {
    say(JSON.stringify(body, null, 2));
    return;
  }
  const nodes = z.array(nodeViewSchema).parse(body);
  if (nodes.length === 0) {
    say("No repository servers have registered.");
    return;
  }
  const rows = nodes.map((node) => [
    node.url,
    node.state,
    String(node.repos.length),
    `${(node.diskUsage * 100).toFixed(0)} %`,
    momentText(node.timestamp),
    node.id,
  ]);
  say(table([["URL", "STATE", "REPLICAS", "DISK", "LAST HEARTBEAT", "ID"], ...rows]));
}

export async function show(id: string, options: Options): Promise<void> {
  const { body } = await new ApiClient(options["url"]).call("GET", apiPaths.node(id));
  if (options["json"] === true) {
    say(JSON.stringify(body, null, 2));
    return;
  }
  const node = nodeViewSchema.parse(body);
  say(
    table([
      ["url", node.url],
      ["id", node.id],
      ["state", node.state],
      ["last heartbeat", momentText(node.timestamp)],
      ["disk use", `${(node.diskUsage * 100).toFixed(0)} %`],
      ["version", node.version],
    ]),
  );
  if (node.repos.length > 0)
    say(`\n${table([["REPOSITORY", "STATUS"], ...node.repos.map((repo) => [repo.name, repo.status])])}`);
}

export async function remove(id: string, options: Options): Promise<void> {
  const query = options["force"] === true ? "?force=true" : "";
  await new ApiClient(options["url"]).call("DELETE", `${apiPaths.node(id)}${query}`);
  say(options["json"] === true ? JSON.stringify({ removed: id }) : `Removed ${id}.`);
}
