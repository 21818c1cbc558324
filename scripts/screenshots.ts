/**
 * Pictures of the console's pages: starts a cluster of its own with something in it, and needs Chromium. Without a
 * directory those of the README and docs/console.md are made anew; with one, every page, wide and narrow, light and dark.
 *
 *   npm run screenshots [-- DIRECTORY]
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Browser } from "playwright-core";
import { desktop, openBrowser, phone } from "../test/support/browser.ts";
import { startServers } from "../test/support/cluster.ts";
import { makeHistory } from "../test/support/git.ts";
import { waitFor } from "../test/support/wait.ts";

const [, , asked] = process.argv;
const directory = asked ?? join(import.meta.dirname, "../docs/images");
/** Small enough for a README. */
const documented = { width: 1120, height: 720 };
const names = [
  "design/brand",
  "infra/ansible",
  "infra/dns-zones",
  "infra/terraform",
  "mobile/android",
  "mobile/ios",
  "platform/api-gateway",
  "platform/billing",
  "platform/search",
  "research/notebooks",
  "web/docs",
  "web/shop",
];
const empty = "web/landing-page";

interface Shot {
  readonly name: string;
  readonly path: string;
  readonly dark?: boolean;
  readonly narrow?: boolean;
  /** Opens something first, by its button's name. */
  readonly press?: string;
  /** Text that is there once the page is complete. */
  readonly wait: string;
}

const pages: readonly Shot[] = [
  { name: "overview", path: "/", wait: "Recent events" },
  { name: "repositories", path: "/repositories", wait: "platform/api-gateway", dark: true },
  { name: "new-repository", path: "/repositories", press: "New repository", wait: "Default branch" },
  { name: "repository", path: "/repositories/web/shop", wait: "commit 40" },
  { name: "getting-started", path: `/repositories/${empty}`, wait: "Push what you have" },
  { name: "settings", path: "/repositories/web/shop?view=settings", wait: "Rename or delete" },
  { name: "nodes", path: "/nodes", wait: "Dead" },
  { name: "node", path: "/nodes/FIRST", wait: "Repositories on this node" },
  { name: "work", path: "/work", wait: "Verification" },
  { name: "events", path: "/events", wait: "is dead" },
];
const looks = [
  { suffix: "", dark: false, narrow: false },
  { suffix: "-dark", dark: true, narrow: false },
  { suffix: "-phone", dark: false, narrow: true },
  { suffix: "-phone-dark", dark: true, narrow: true },
];
const inDocuments = ["overview", "repositories", "repository", "nodes", "node", "work", "events"];
const shots: readonly Shot[] =
  asked === undefined
    ? [
        ...pages.filter(({ name }) => inDocuments.includes(name)),
        { name: "phone", path: "/", narrow: true, wait: "Recent events" },
      ]
    : pages.flatMap((page) =>
        looks.map(({ suffix, dark, narrow }) => ({ ...page, name: `${page.name}${suffix}`, dark, narrow })),
      );

const cluster = await startServers({ nodes: 4, replicas: 3, env: { GITMESH_NODE_TIMEOUT_MS: "1500" } });
try {
  cluster.servers.start("console");
  await waitFor(async () => (await fetch(`${cluster.consoleUrl}/readyz`)).ok, { what: "the console" });
  await fill();
  const browser = await openBrowser();
  try {
    mkdirSync(directory, { recursive: true });
    const [first] = await cluster.nodes();
    for (const shot of shots) await take(browser, shot, first?.id ?? "");
  } finally {
    await browser.close();
  }
} finally {
  await cluster.stop();
}

async function fill(): Promise<void> {
  const terminal = cluster.terminal();
  for (const [index, name] of names.entries()) {
    await cluster.create(name, {
      description: index % 3 === 0 ? `The ${name.split("/")[1] ?? ""} of ${name.split("/")[0] ?? ""}` : "",
    });
    const directoryName = name.replace("/", "-");
    await makeHistory(terminal, directoryName, { commits: 10 + 10 * (index % 4), branches: 3, tags: 2, salt: name });
    await terminal.in(directoryName).ok(`git push -q $GIT/${name}.git --all && git push -q $GIT/${name}.git --tags`);
  }
  await cluster.create(empty);
  fillCharts();
  const working = terminal.in("web-shop");
  await cluster.kill("node-4");
  await cluster.waitNodeState("node-4", "DEAD");
  for (const name of ["web/shop", "platform/billing"]) {
    await working.ok(`git push -q $GIT/${name}.git +master:refs/heads/feature/checkout`);
  }
}

/** The last hour of a cluster that has more to do than this one. */
function fillCharts(): void {
  const database = new DatabaseSync(join(cluster.dataDirectory, "gitmesh.sqlite"), { timeout: 5000 });
  const insert = database.prepare("insert or replace into samples (start_ms, subject, numbers) values (?, ?, ?)");
  const nodes = database.prepare("select id, disk_usage from nodes").all();
  const nodeIds = nodes.map((row) => String(row["id"]));
  const diskUsage = Number(nodes[0]?.["disk_usage"]);
  const startMs = Math.floor(Date.now() / 10_000) * 10_000;
  database.exec("begin");
  for (let index = 1; index <= 400; index += 1) {
    const wave = 1 + 0.5 * Math.sin(index / 37) + 0.25 * Math.sin(index / 7) + 0.2 * Math.sin(index * 2.1);
    const pushes = Math.round(2.2 * wave);
    const clones = Math.round(4 * wave + 2 * Math.sin(index / 23) ** 2);
    const pushTimes = Array.from({ length: 32 }, (_value, at) =>
      at === 10 || at === 11 ? pushes : at === 13 && index % 9 === 0 ? 1 : 0,
    );
    const counted = Object.fromEntries(
      nodeIds.map((id) => [id, { stages: pushes, stageMs: pushes * (40 + 25 * wave), fetches: clones }]),
    );
    const numbers = {
      pushes,
      clones,
      fetches: 2 * clones,
      bytesIn: pushes * 190_000 * wave,
      bytesOut: clones * 2_400_000 * wave,
      pushTimes,
      nodes: counted,
    };
    insert.run(startMs - index * 10_000, "controller/pictures", JSON.stringify(numbers));
    for (const [at, id] of nodeIds.entries()) {
      const sample = { diskUsage: diskUsage - index / 40_000, loadAverage: 0.35 * wave + 0.1 * at };
      insert.run(startMs - index * 10_000, `node/${id}`, JSON.stringify(sample));
    }
  }
  database.exec("commit");
  database.close();
}

async function take(browser: Browser, shot: Shot, firstNode: string): Promise<void> {
  const context = await browser.newContext({
    baseURL: cluster.consoleUrl,
    viewport: shot.narrow === true ? phone : asked === undefined ? documented : desktop,
    deviceScaleFactor: 1,
    colorScheme: shot.dark === true ? "dark" : "light",
    reducedMotion: "reduce",
  });
  const page = await context.newPage();
  await page.goto(shot.path.replace("FIRST", firstNode));
  await page.getByText("Live", { exact: true }).waitFor({ state: shot.narrow === true ? "attached" : "visible" });
  if (shot.press !== undefined) await page.getByRole("button", { name: shot.press }).first().click();
  await page.getByText(shot.wait).first().waitFor();
  await page.evaluate("document.fonts.ready");
  await page.waitForLoadState("load");
  await page.screenshot({ path: join(directory, `${shot.name}.png`) });
  console.log(shot.name);
  await context.close();
}
