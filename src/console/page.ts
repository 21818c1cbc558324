/** The console's page as HTML. Pure; every value is escaped. */
import { momentText } from "../base/clock.ts";
import type { NodeView, RepositoryView } from "../protocol/public-api.ts";
import type { ClusterState } from "./cluster-state.ts";

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
  const { good, sentence } = healthOf(state);
  return `<p class="health ${good ? "good" : "bad"}" role="status">${escape(sentence)}</p>
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
function healthOf({ cluster }: Reached): { readonly good: boolean; readonly sentence: string } {
  const { store, repositories, nodes } = cluster;
  if (!store.ok || repositories === null) return { good: false, sentence: "The metadata store does not answer." };
  const { total, degraded } = repositories;
  const down = nodes.total - nodes.alive;
  const servers =
    down === 0 ? "" : ` ${down} of ${nodes.total} repository servers ${down === 1 ? "does" : "do"} not answer.`;
  if (degraded > 0) {
    const subject = degraded === 1 ? "1 repository has" : `${degraded} repositories have`;
    return { good: false, sentence: `${subject} fewer complete replicas than wanted.${servers}` };
  }
  return { good: down === 0, sentence: `${allWell(total)}${servers}` };
}

function allWell(total: number): string {
  if (total === 0) return "There are no repositories yet.";
  return total === 1 ? "The repository has all its replicas." : `All ${total} repositories have all their replicas.`;
}

function renderRepositories({ cluster, repositories, url }: Reached): string {
  if (repositories === undefined) return "<h2>Repositories</h2>\n<p>Unknown at the moment.</p>";
  if (repositories.length === 0) {
    return `<h2>Repositories</h2>
<p>Make the first one, and push to it:</p>
<pre><code>curl -XPOST ${escape(url)}/api/repos/test
git clone ${escape(url)}/git/test.git
cd test
git commit --allow-empty -m 'First commit'
git push origin HEAD</code></pre>`;
  }
  const total = cluster.repositories?.total ?? repositories.length;
  const rest = total > repositories.length ? `<p>${total - repositories.length} more are not shown.</p>` : "";
  return `<h2>Repositories</h2>
${table(["Name", "Replicas", "Generation", "Size", "Last push"], repositories.map(repositoryRow))}${rest}`;
}

function repositoryRow({ name, cloneUrl, nodes, generation, size, timestamp }: RepositoryView): string {
  const replicas = nodes.map(({ status, url, reason }) =>
    mark(status, `${status} on ${url}${reason === "" ? "" : `: ${reason}`}`),
  );
  return `<tr>
<th scope="row">${escape(name)}<br><code>${escape(cloneUrl)}</code></th>
<td>${replicas.join(" ")}</td>
<td class="number">${generation}</td>
<td class="number">${escape(sizeText(size))}</td>
<td>${escape(momentText(timestamp))}</td>
</tr>`;
}

function renderNodes({ nodes }: Reached, nowMs: number): string {
  if (nodes === undefined) return "<h2>Repository servers</h2>\n<p>Unknown at the moment.</p>";
  if (nodes.length === 0) return "<h2>Repository servers</h2>\n<p>None has registered yet.</p>";
  const rows = nodes.map((node) => nodeRow(node, nowMs));
  return `<h2>Repository servers</h2>\n${table(["URL", "State", "Last heartbeat", "Disk"], rows)}`;
}

function nodeRow({ url, state, timestamp, diskUsage }: NodeView, nowMs: number): string {
  return `<tr>
<th scope="row">${escape(url)}</th>
<td>${mark(state, state)}</td>
<td class="number">${Math.max(0, (nowMs - timestamp) / 1000).toFixed(0)} s ago</td>
<td class="number">${(diskUsage * 100).toFixed(0)} %</td>
</tr>`;
}

/** `rows` are HTML; a table that is too wide for a phone scrolls in itself. */
function table(columns: readonly string[], rows: readonly string[]): string {
  const heads = columns.map((column) => `<th scope="col">${escape(column)}</th>`);
  return `<div class="wide"><table>
<thead><tr>${heads.join("")}</tr></thead>
<tbody>${rows.join("\n")}</tbody>
</table></div>`;
}

/** A state as a word with a colour, and all of it for those who point at it. */
function mark(state: string, title: string): string {
  return `<span class="mark ${escape(state.toLowerCase())}" title="${escape(title)}">${escape(state)}</span>`;
}

function sizeText(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(1)} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

function escape(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}
