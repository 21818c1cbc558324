/** The console's page as HTML. Pure; every value is escaped. */
import type { ClusterView, NodeView, RepositoryView } from "../protocol/public-api.ts";

export type ClusterState =
  | {
      readonly kind: "reached";
      readonly url: string;
      readonly cluster: ClusterView;
      readonly nodes: readonly NodeView[];
      readonly repositories: readonly RepositoryView[];
    }
  | { readonly kind: "unreachable"; readonly failures: readonly string[] };

type Reached = Extract<ClusterState, { readonly kind: "reached" }>;

/** The whole page; it asks for itself again every five seconds. */
export function renderPage(state: ClusterState, nowMs: number): string {
  const body = state.kind === "reached" ? renderCluster(state, nowMs) : renderUnreachable(state.failures);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="5">
<meta name="color-scheme" content="light dark">
<title>gitmesh</title>
<link rel="stylesheet" href="/style.css">
</head>
<body>
<header><h1>gitmesh</h1></header>
<main>
${body}
</main>
</body>
</html>
`;
}

function renderUnreachable(failures: readonly string[]): string {
  const items = failures.map((failure) => `<li>${escape(failure)}</li>`).join("");
  return `<p class="health bad" role="status">No controller answers.</p>\n<ul>${items}</ul>`;
}

function renderCluster(state: Reached, nowMs: number): string {
  const { url, cluster } = state;
  return `<p class="health ${healthOf(state).good ? "good" : "bad"}" role="status">${escape(healthOf(state).sentence)}</p>
${renderRepositories(state)}
${renderNodes(state, nowMs)}
<h2>More</h2>
<ul class="links">
<li><a href="${escape(url)}/api/repos">Repositories (JSON)</a></li>
<li><a href="${escape(url)}/api/nodes">Repository servers (JSON)</a></li>
<li><a href="${escape(url)}/api/cluster">Cluster (JSON)</a></li>
<li><a href="${escape(url)}/api/openapi.json">OpenAPI document</a></li>
</ul>
<footer>Told by ${escape(cluster.controller)}, gitmesh ${escape(cluster.version)}, store ${escape(cluster.store.engine)}</footer>`;
}

/** The state of everything in one line. */
function healthOf({ cluster, nodes }: Reached): { readonly good: boolean; readonly sentence: string } {
  if (!cluster.store.ok || cluster.repositories === null)
    return { good: false, sentence: "The metadata store does not answer." };
  const { total, degraded } = cluster.repositories;
  const down = nodes.filter((node) => node.state !== "ALIVE").length;
  const servers =
    down === 0 ? "" : ` ${down} of ${nodes.length} repository servers ${down === 1 ? "does" : "do"} not answer.`;
  if (degraded > 0) {
    const subject = degraded === 1 ? "1 repository has" : `${degraded} repositories have`;
    return { good: false, sentence: `${subject} fewer complete replicas than wanted.${servers}` };
  }
  const all =
    total === 0
      ? "There are no repositories yet."
      : total === 1
        ? "The repository has all its replicas."
        : `All ${total} repositories have all their replicas.`;
  return { good: down === 0, sentence: `${all}${servers}` };
}

function renderRepositories({ cluster, repositories, url }: Reached): string {
  if (repositories.length === 0) {
    return `<h2>Repositories</h2>
<p>Make the first one, and push to it:</p>
<pre><code>curl -XPOST ${escape(url)}/api/repos/test
git clone ${escape(url)}/git/test.git</code></pre>`;
  }
  const rows = repositories.map(
    (repository) => `<tr>
<th scope="row">${escape(repository.name)}<br><code>${escape(repository.cloneUrl)}</code></th>
<td>${repository.nodes.map((node) => mark(node.status, `${node.status} on ${node.url}${node.reason === "" ? "" : `: ${node.reason}`}`)).join(" ")}</td>
<td class="number">${repository.generation}</td>
<td class="number">${escape(size(repository.size))}</td>
<td>${repository.timestamp < 0 ? "never" : escape(time(repository.timestamp))}</td>
</tr>`,
  );
  const total = cluster.repositories?.total ?? repositories.length;
  const rest = total > repositories.length ? `<p>${total - repositories.length} more are not shown.</p>` : "";
  return `<h2>Repositories</h2>
<div class="wide"><table>
<thead><tr><th scope="col">Name</th><th scope="col">Replicas</th><th scope="col">Generation</th><th scope="col">Size</th><th scope="col">Last push</th></tr></thead>
<tbody>${rows.join("\n")}</tbody>
</table></div>${rest}`;
}

function renderNodes({ nodes }: Reached, nowMs: number): string {
  if (nodes.length === 0) return "<h2>Repository servers</h2>\n<p>None has registered yet.</p>";
  const rows = nodes.map(
    (node) => `<tr>
<th scope="row">${escape(node.url)}</th>
<td>${mark(node.state, node.state)}</td>
<td class="number">${Math.max(0, (nowMs - node.timestamp) / 1000).toFixed(0)} s ago</td>
<td class="number">${(node.diskUsage * 100).toFixed(0)} %</td>
<td class="number">${node.repos.length}</td>
</tr>`,
  );
  return `<h2>Repository servers</h2>
<div class="wide"><table>
<thead><tr><th scope="col">URL</th><th scope="col">State</th><th scope="col">Last heartbeat</th><th scope="col">Disk</th><th scope="col">Replicas</th></tr></thead>
<tbody>${rows.join("\n")}</tbody>
</table></div>`;
}

/** A state as a word with a colour, and all of it for those who point at it. */
function mark(state: string, title: string): string {
  return `<span class="mark ${escape(state.toLowerCase())}" title="${escape(title)}">${escape(state)}</span>`;
}

function size(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6
    ? `${(bytes / 1e3).toFixed(1)} kB`
    : bytes < 1e9
      ? `${(bytes / 1e6).toFixed(1)} MB`
      : `${(bytes / 1e9).toFixed(1)} GB`;
}

function time(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

function escape(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}
