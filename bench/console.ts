/**
 * How soon the console's repositories page is usable with many repositories: from the address to the first rows, and
 * from the last key of a search to its result. Not a test: it prints figures.
 *
 *   node bench/console.ts [--repositories 10000] [--runs 5]
 *
 * Starts a cluster of its own, writes the repositories into its database, and drives the system's Chromium.
 */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { parseArgs } from "node:util";
import type { Browser, Page } from "playwright-core";
import { desktop, openBrowser } from "../test/support/browser.ts";
import { startServers } from "../test/support/cluster.ts";
import { waitFor } from "../test/support/wait.ts";

const { values } = parseArgs({
  options: { repositories: { type: "string", default: "10000" }, runs: { type: "string", default: "5" } },
});
const count = Number(values.repositories);
const runs = Number(values.runs);

interface Figures {
  /** From the address to the first rows that are painted, ms, in a browser that was never here. */
  readonly firstRowsMs: number;
  /** The same for one that has the page's files. */
  readonly againMs: number;
  readonly searchMs: number;
  /** When what the first rows wait for was there, ms after the address: name and time, in order of time. */
  readonly steps: readonly (readonly [string, number])[];
  /** All that was loaded until then, compressed. */
  readonly bytes: number;
}

/** In the page: of the document, of each file that comes before the first row, and of the first answer. */
const breakdown = `(() => {
  const [page] = performance.getEntriesByType("navigation");
  const files = performance.getEntriesByType("resource").filter(({ startTime }) => startTime < window.firstRowsMs);
  const kind = (name) =>
    name.includes("/api/repos") ? "rows answered" : name.endsWith(".css") ? "styles there"
      : name.includes("/api/") ? "" : name.includes("Page-") ? "page's script there" : name.endsWith(".js") ? "scripts there" : "";
  const steps = new Map([["page there", page.responseEnd]]);
  for (const { name, requestStart, startTime, responseEnd } of files) {
    const step = kind(name);
    if (step !== "" && responseEnd <= window.firstRowsMs) steps.set(step, Math.max(steps.get(step) ?? 0, responseEnd));
    if (step === "rows answered" && !steps.has("rows asked for")) steps.set("rows asked for", requestStart || startTime);
  }
  for (const { name, startTime } of performance.getEntriesByType("paint")) steps.set(name, startTime);
  steps.set("first rows", window.firstRowsMs);
  const bytes = [page, ...files].reduce((sum, { encodedBodySize }) => sum + encodedBodySize, 0);
  return { steps: [...steps].toSorted(([, one], [, other]) => one - other), bytes };
})()`;

/**
 * In the page itself: when the first row was painted, and when the row that was searched for. Asking from outside would be
 * seen half a second late.
 */
const watch = `
  const painted = (done) => requestAnimationFrame(() => setTimeout(() => done(performance.now())));
  new MutationObserver((_changes, observer) => {
    if (document.querySelector("tr.row-card a") === null) return;
    observer.disconnect();
    painted((ms) => { window.firstRowsMs = ms; });
  }).observe(document, { childList: true, subtree: true });
  document.addEventListener("input", ({ target }) => {
    const startMs = performance.now();
    new MutationObserver((_changes, observer) => {
      if (!document.querySelector("tr.row-card a")?.textContent.includes(target.value)) return;
      observer.disconnect();
      painted((ms) => { window.searchMs = ms - startMs; });
    }).observe(document, { childList: true, subtree: true, characterData: true });
  });`;

const cluster = await startServers({ nodes: 3 });
try {
  cluster.servers.start("console");
  await waitFor(async () => (await fetch(`${cluster.consoleUrl}/readyz`)).ok, { what: "the console", limitMs: 90_000 });
  fill();
  const browser = await openBrowser();
  try {
    const figures: Figures[] = [];
    for (let run = 0; run < runs; run += 1) figures.push(await measure(browser));
    const shown = (list: number[]): string =>
      `median ${list.toSorted((one, other) => one - other)[Math.floor(list.length / 2)]?.toFixed(0) ?? "-"} ms of ${list.map((ms) => ms.toFixed(0)).join(", ")}`;
    console.log(`${count} repositories, ${runs} runs`);
    console.log(`first visit, nothing cached:     ${shown(figures.map(({ firstRowsMs }) => firstRowsMs))}`);
    console.log(`second visit (aim: under 1000):  ${shown(figures.map(({ againMs }) => againMs))}`);
    console.log(`last key of a search to its row: ${shown(figures.map(({ searchMs }) => searchMs))}`);
    const middle = figures.toSorted((one, other) => one.firstRowsMs - other.firstRowsMs)[Math.floor(runs / 2)];
    console.log(`the median first visit (${((middle?.bytes ?? 0) / 1000).toFixed(0)} kB in all):`);
    for (const [name, ms] of middle?.steps ?? []) console.log(`  ${ms.toFixed(0).padStart(6)} ms  ${name}`);
  } finally {
    await browser.close();
  }
} finally {
  await cluster.stop();
}

/** Rows as the controllers would write them; the replicas' directories are not needed to list them. */
function fill(): void {
  const database = new DatabaseSync(join(cluster.dataDirectory, "gitmesh.sqlite"), { timeout: 5000 });
  const columns = (table: string): string[] =>
    database
      .prepare(`select name from pragma_table_info('${table}')`)
      .all()
      .map((row) => String(row["name"]));
  const insert = (table: string) => {
    const names = columns(table);
    const statement = database.prepare(
      `insert into ${table} (${names.join(", ")}) values (${names.map((name) => `:${name}`).join(", ")})`,
    );
    return (row: Readonly<Record<string, string | number | Uint8Array>>): void => {
      statement.run(Object.fromEntries(names.map((name) => [name, row[name] ?? 0])));
    };
  };
  const nodeIds = database
    .prepare("select id from nodes")
    .all()
    .map((row) => String(row["id"]));
  const repository = insert("repositories");
  const replica = insert("replicas");
  database.exec("begin");
  for (let index = 1; index <= count; index += 1) {
    const number = String(index).padStart(12, "0");
    const id = `01900000-0000-7000-8000-${number}`;
    repository({
      id,
      name: `team-${index % 97}/repository-${number.slice(-6)}`,
      object_format: "sha1",
      default_branch: Buffer.from("refs/heads/master"),
      description: "",
      replicas_wanted: 3,
      created_ms: index,
      pushed_ms: -1,
      ahead_generation: -1,
    });
    for (const [position, nodeId] of nodeIds.entries()) {
      const verified = { verified_ms: Date.now() };
      replica({
        ...verified,
        repository_id: id,
        node_id: nodeId,
        position,
        state: "READY",
        missed_generation: -1,
        reason: "",
      });
    }
  }
  database.exec("commit");
  database.close();
}

async function measure(browser: Browser): Promise<Figures> {
  const context = await browser.newContext({ baseURL: cluster.consoleUrl, viewport: desktop });
  await context.addInitScript(watch);
  const page = await context.newPage();
  await page.goto("/repositories", { waitUntil: "commit" });
  const firstRowsMs = await told(page, "firstRowsMs");
  const { steps, bytes } = await page.evaluate<Pick<Figures, "steps" | "bytes">>(breakdown);
  await page.goto("/repositories", { waitUntil: "commit" });
  const againMs = await told(page, "firstRowsMs");
  const wanted = String(1 + Math.floor(Math.random() * count)).padStart(6, "0");
  await page.getByLabel("Search by name").fill(`repository-${wanted}`);
  const searchMs = await told(page, "searchMs");
  await context.close();
  return { firstRowsMs, againMs, searchMs, steps, bytes };
}

async function told(page: Page, name: string): Promise<number> {
  const ask = (): Promise<number> => page.evaluate<number>(`window.${name} ?? 0`);
  await waitFor(async () => (await ask()) > 0, { what: name, limitMs: 60_000 });
  return ask();
}
