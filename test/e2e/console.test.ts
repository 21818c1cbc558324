/** The console in a real browser, in front of a real cluster of two controllers and three nodes. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Browser, Locator, Page } from "playwright-core";
import pg from "pg";
import { desktop, hasBrowser, openBrowser, phone, violations, withPage, type PageOptions } from "../support/browser.ts";
import { startServers, type Cluster } from "../support/cluster.ts";
import { startDatabase, type TestDatabase } from "../support/databases.ts";
import { makeHistory } from "../support/git.ts";
import { needs } from "../support/requirement.ts";
import type { Separate } from "../support/servers.ts";
import { waitFor } from "../support/wait.ts";

const settings = { GITMESH_NODE_TIMEOUT_MS: "2500" };
/** Compressed; the aim of the whole first page. */
const firstLoadBytesMax = 250_000;
/** Whether a name is free is asked while it is typed: the answer that it is counts as an error of the page. */
const asking = /404/;
const broken = /^Failed to load resource: (?:the server responded with a status of (?:404|50[234])|net::ERR_)/;

describe("console", needs("Chromium", hasBrowser), () => {
  let database: TestDatabase;
  let cluster: Cluster<Separate>;
  let browser: Browser;
  const open = (options: PageOptions, work: (page: Page) => Promise<void>): Promise<void> =>
    withPage(browser, cluster.consoleUrl, options, work);
  const row = (page: Page, name: string): Locator => page.locator(`tr[data-name="${name}"]`);

  before(async () => {
    database = await startDatabase("postgres");
    cluster = await startServers({ controllers: 2, database: database.url, env: settings });
    cluster.servers.start("console");
    await waitFor(async () => (await fetch(`${cluster.consoleUrl}/readyz`)).ok, {
      what: "the console",
      limitMs: 90_000,
    });
    browser = await openBrowser();
  });
  after(async () => {
    await browser?.close();
    try {
      await cluster?.stop();
    } finally {
      await database?.stop();
    }
  });

  test("the first load is small, and an empty cluster says what to do", async () => {
    await open({}, async (page) => {
      await page.goto("/");
      await page.getByText("The cluster is ready. There are no repositories yet.").waitFor();
      await page.getByText("Recent events").waitFor();
      await everyPageIsLoaded(page);
      const scriptBytes = await page.evaluate<number>(
        `performance.getEntriesByType("resource").filter(({ name }) => name.endsWith(".js"))
          .reduce((sum, { encodedBodySize }) => sum + encodedBodySize, 0)`,
      );
      assert.ok(scriptBytes > 50_000 && scriptBytes < firstLoadBytesMax, `${scriptBytes} bytes of script`);
      await page.getByRole("link", { name: "Create one" }).click();
      await page.getByText("There are no repositories yet.").waitFor();
    });
  });

  test("a repository is created by keyboard alone", async () => {
    await open({ expected: asking }, async (page) => {
      await page.goto("/repositories");
      await page.getByText("There are no repositories yet.").waitFor();
      await tabTo(page, "New repository");
      await page.keyboard.press("Enter");
      const name = page.getByLabel("Name", { exact: true });
      await waitFor(() => name.evaluate((field) => field === field.ownerDocument.activeElement), {
        what: "the name to have the focus",
      });
      await page.keyboard.type("team/bad name");
      await page.getByText(/other characters than letters/).waitFor();
      await page.keyboard.press("ControlOrMeta+a");
      await page.keyboard.type("team/keyboard");
      await page.keyboard.press("Tab");
      await page.keyboard.type("Made without a mouse");
      await page.keyboard.press("Enter");
      await page.getByRole("heading", { name: "team/keyboard" }).waitFor();
      await page.getByTestId("getting-started").waitFor();
      await page.getByText("Made without a mouse").waitFor();
      assert.equal((await cluster.show("team/keyboard")).defaultBranch, "master");
    });
  });

  test("a push with git changes the row by itself, and the repository's page shows it", async () => {
    const terminal = cluster.terminal();
    await makeHistory(terminal, "source", { commits: 5, branches: 2, tags: 1 });
    await open({}, async (page) => {
      await page.goto("/repositories");
      const generation = row(page, "team/keyboard").getByTestId("generation");
      await waitFor(async () => (await generation.textContent()) === "0", { what: "the row" });
      await terminal.in("source").ok("git push -q $GIT/team/keyboard.git --all");
      await waitFor(async () => (await generation.textContent()) === "1", {
        what: "the row to change",
        limitMs: 15_000,
      });
      await row(page, "team/keyboard").getByRole("link").click();
      const refs = page.getByTestId("refs");
      await refs.getByText("master", { exact: true }).waitFor();
      await refs.getByText("commit 5").first().waitFor();
      await refs.getByText("Ada Author").first().waitFor();
      assert.equal(await page.getByTestId("getting-started").count(), 0);
      await page
        .getByTestId("pushes")
        .getByText(/from 127\.0\.0\.1/)
        .waitFor();
      await terminal.in("source").ok("git push -q $GIT/team/keyboard.git --tags");
      await page.getByTestId("pushes").getByText("t/0 created").waitFor();
    });
  });

  test("a node that is killed turns, and heals when it is back", async () => {
    const terminal = cluster.terminal();
    await makeHistory(terminal, "more", { commits: 3, salt: "more" });
    await open({}, async (page) => {
      await page.goto("/nodes");
      const state = page.locator(`tr[data-node="${cluster.nodeUrl("node-2")}"]`);
      await state.getByText("Alive").waitFor();
      await cluster.kill("node-2");
      await state.getByText("Dead").waitFor();
      await page.getByRole("link", { name: "Overview" }).click();
      await page.getByTestId("health").getByText("is dead").waitFor();
      await terminal.in("more").ok("git push -q $GIT/team/keyboard.git master:refs/heads/more");
      await page.getByTestId("health").getByText("1 repository has fewer complete replicas than wanted.").waitFor();
      await page.getByRole("link", { name: "See which" }).click();
      await row(page, "team/keyboard").locator('[data-status="STALE"]').waitFor();
      await cluster.start("node-2");
      await page.goto("/repositories/team/keyboard");
      await page.locator(`tr[data-node="${cluster.nodeUrl("node-2")}"][data-status="READY"]`).waitFor();
      await page.getByText("Healthy").waitFor();
      await page.goto(`/events?node=${encodeURIComponent(cluster.nodeUrl("node-2"))}`);
      for (const text of ["is dead", "started again", "is complete again"])
        await page.getByText(text).first().waitFor();
    });
  });

  test("settings are saved, a refused change keeps the form, a repository is renamed and deleted by its name", async () => {
    await cluster.create("team/taken");
    await open({ expected: /40[49]/ }, async (page) => {
      await page.goto("/repositories/team/taken?view=settings");
      await page.getByLabel("Description").fill("Ours");
      await page.getByLabel("Refuse pushes that delete branches or tags").check();
      await page.getByRole("button", { name: "Save" }).click();
      await page.getByText("The settings are saved.").waitFor();
      assert.equal((await cluster.show("team/taken")).description, "Ours");
      await page.getByRole("button", { name: "Rename …" }).click();
      const name = page.getByLabel("Name", { exact: true });
      await name.fill("team/keyboard");
      await page.getByText("A repository of this name exists.").waitFor();
      await name.fill("team/renamed");
      await page.getByRole("button", { name: "Rename", exact: true }).click();
      await page.getByRole("heading", { name: "team/renamed" }).waitFor();
      await page.getByRole("button", { name: "Delete …" }).click();
      const remove = page.getByRole("button", { name: "Delete this repository" });
      assert.equal(await remove.isDisabled(), true);
      await page.getByLabel(/Type the name/).fill("team/rename");
      assert.equal(await remove.isDisabled(), true);
      await page.getByLabel(/Type the name/).fill("team/renamed");
      await remove.click();
      await row(page, "team/keyboard").waitFor();
      assert.equal(await row(page, "team/renamed").count(), 0);
      assert.equal((await cluster.api("GET", "/api/repos/team/renamed")).status, 404);
    });
  });

  test("who is in the settings when another person renames the repository goes on there, and loses nothing", async () => {
    await cluster.create("team/before");
    await open({ expected: asking }, async (page) => {
      await page.goto("/repositories/team/before?view=settings");
      await page.getByLabel("Description").fill("half a sen");
      await page.getByRole("link", { name: "Overview" }).last().click();
      await page.getByTestId("getting-started").waitFor();
      await page.getByRole("link", { name: "Settings" }).click();
      assert.equal(await page.getByLabel("Description").inputValue(), "half a sen");
      assert.equal((await cluster.api("PATCH", "/api/repos/team/before", { name: "team/after" })).status, 200);
      await page.getByRole("heading", { name: "team/after" }).waitFor();
      assert.equal(await page.getByLabel("Description").inputValue(), "half a sen");
      await page.getByRole("button", { name: "Save" }).click();
      await page.getByText("The settings are saved.").waitFor();
      assert.equal((await cluster.show("team/after")).description, "half a sen");
      assert.equal((await cluster.api("DELETE", "/api/repos/team/after")).status, 204);
      await page.getByText("It was deleted meanwhile.").waitFor();
    });
  });

  test("a replica is moved, verified and filled anew, and a node is drained, by hand", async () => {
    await cluster.create("team/moves", { replicas: 2 });
    const [from] = (await cluster.show("team/moves")).nodes;
    await open({}, async (page) => {
      await page.goto("/repositories/team/moves");
      const rowOf = (url: string): Locator => page.locator(`tr[data-node="${url}"]`);
      await page.getByRole("button", { name: "Verify all" }).click();
      await page.getByText("every complete replica is read as a whole").waitFor();
      await rowOf(from?.url ?? "")
        .getByRole("button", { name: /Actions/ })
        .click();
      await page.locator(".dropdown-item", { hasText: "Move to another node …" }).click();
      await page.getByLabel("To", { exact: true }).waitFor();
      assert.deepEqual(await violations(page), [], "move dialog");
      await page.getByRole("button", { name: "Move replica" }).click();
      await rowOf(from?.url ?? "").waitFor({ state: "detached" });
      await waitFor(async () => (await page.locator('tr[data-status="READY"]').count()) === 2, {
        what: "both replicas",
      });
      const left = page.locator('tr[data-status="READY"]').first();
      await left.getByRole("button", { name: /Actions/ }).click();
      await page.locator(".dropdown-item", { hasText: "Fill anew …" }).click();
      await page.getByRole("button", { name: "Fill anew" }).click();
      await page.getByText("the replica is filled anew").waitFor();
      await waitFor(async () => (await page.locator('tr[data-status="READY"]').count()) === 2, { what: "both again" });
      await page.goto("/nodes");
      const node = page.locator(`tr[data-node="${from?.url ?? ""}"]`);
      await node.getByRole("button", { name: /Actions/ }).click();
      await page.locator(".dropdown-item", { hasText: "Drain …" }).click();
      await page.getByText("It gets no new replicas").waitFor();
      assert.deepEqual(await violations(page), [], "drain dialog");
      await page.getByRole("button", { name: "Drain", exact: true }).click();
      await node.getByText("Draining").waitFor();
      await node.getByRole("button", { name: /Actions/ }).click();
      await page.locator(".dropdown-item", { hasText: "Stop draining …" }).click();
      await page.getByRole("button", { name: "Stop draining" }).click();
      await node.getByText("Alive").waitFor();
    });
  });

  test("a page that was not looked at yet is there without a connection", async () => {
    await open({ expected: broken }, async (page) => {
      await page.goto("/");
      await page.getByTestId("connection").getByText("Live").waitFor();
      await everyPageIsLoaded(page);
      await page.context().setOffline(true);
      await page.getByRole("link", { name: "Work", exact: true }).click();
      await page.getByRole("heading", { name: "Work" }).waitFor();
      await page.context().setOffline(false);
    });
  });

  test("no violation of accessibility on any page, in both themes, and nothing is wider than a phone", async () => {
    await cluster.create("team/empty");
    const [node] = await cluster.nodes();
    const pages = [
      "/",
      "/repositories",
      "/repositories/team/keyboard",
      "/repositories/team/keyboard?view=settings",
      "/repositories/team/empty",
      "/nodes",
      `/nodes/${node?.id ?? ""}`,
      "/work",
      "/events",
      "/nowhere",
    ];
    const visit = async (page: Page, path: string): Promise<void> => {
      await page.goto(path);
      await page.locator("#main > *").first().waitFor();
      await waitFor(async () => (await page.locator("[aria-busy=true]").count()) === 0, {
        what: `${path} to be complete`,
      });
    };
    for (const colorScheme of ["light", "dark"] as const) {
      await open({ colorScheme }, async (page) => {
        for (const path of pages) {
          await visit(page, path);
          assert.deepEqual(await violations(page), [], `${colorScheme} ${path}`);
        }
        await page.goto("/repositories");
        await page.getByRole("button", { name: "New repository" }).click();
        await page.getByLabel("Name", { exact: true }).fill("a//b");
        await page.getByText("A part of the name is empty.").waitFor();
        assert.deepEqual(await violations(page), [], `${colorScheme} dialog`);
      });
    }
    await cluster.kill("node-2");
    await cluster.waitNodeState("node-2", "DEAD");
    await open({ viewport: phone, colorScheme: "dark" }, async (page) => {
      for (const path of pages) {
        await visit(page, path);
        const width = await page.evaluate<number>("document.documentElement.scrollWidth");
        assert.ok(width <= phone.width, `${path} is ${width} wide`);
        assert.deepEqual(await violations(page), [], `phone, a dead node, ${path}`);
      }
      await page.goto("/repositories/team/keyboard?view=settings");
      for (const [button, verb] of [
        ["Rename …", "Rename"],
        ["Delete …", "Delete this repository"],
      ] as const) {
        await page.getByRole("button", { name: button }).click();
        await page.getByRole("button", { name: verb, exact: true }).waitFor();
        assert.deepEqual(await violations(page), [], `phone ${verb}`);
        await page.getByRole("button", { name: "Cancel" }).click();
        await page.getByRole("button", { name: verb, exact: true }).waitFor({ state: "detached" });
      }
      await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: "Repositories" }).click();
      await row(page, "team/keyboard").getByRole("link").waitFor();
    });
    await cluster.start("node-2");
  });

  test("dark as the system has it, and as it is chosen", async () => {
    await open({ colorScheme: "dark" }, async (page) => {
      const theme = (): Promise<string> => page.evaluate<string>("document.documentElement.dataset.bsTheme");
      await page.goto("/");
      assert.equal(await theme(), "dark");
      await page.getByRole("button", { name: "Light or dark" }).click();
      await page.locator(".dropdown-item", { hasText: "Light" }).click();
      assert.equal(await theme(), "light");
      await page.reload();
      assert.equal(await theme(), "light");
      await page.getByRole("button", { name: "Light or dark" }).click();
      await page.locator(".dropdown-item", { hasText: "As the system" }).click();
      await page.emulateMedia({ colorScheme: "light" });
      await waitFor(async () => (await theme()) === "light", { what: "the page to follow the system" });
    });
  });

  test("a controller dies under the console: nobody notices", async () => {
    await open({}, async (page) => {
      await page.goto("/repositories");
      await row(page, "team/keyboard").waitFor();
      await page.getByTestId("connection").getByText("Live").waitFor();
      for (const controller of ["controller-1", "controller-2"] as const) {
        const other = controller === "controller-1" ? 2 : 1;
        await cluster.kill(controller);
        const name = `while/${controller}-is-dead`;
        const made = await fetch(`${cluster.controllerUrl(other)}/api/repos/${name}`, { method: "POST" });
        assert.equal(made.status, 201);
        await row(page, name).waitFor();
        await page.getByRole("link", { name: "Nodes" }).click();
        await page.getByText("3 of 3 alive").waitFor();
        await page.getByRole("link", { name: "Repositories", exact: true }).click();
        assert.equal(await page.getByTestId("lost").count(), 0);
        await cluster.start(controller);
      }
    });
  });

  test("with no controller at all the page says so, keeps what was typed, and heals", async () => {
    await open({ expected: broken }, async (page) => {
      await page.goto("/repositories");
      await row(page, "team/keyboard").waitFor();
      await page.getByRole("button", { name: "New repository" }).click();
      await page.getByLabel("Name", { exact: true }).fill("kept/name");
      await page.getByLabel("Description").fill("typed before the fall");
      for (const controller of ["controller-1", "controller-2"]) await cluster.kill(controller);
      await page.getByTestId("lost").waitFor();
      await page.getByRole("button", { name: "Create repository" }).click();
      await page.getByText("No controller answers").waitFor();
      assert.equal(await page.getByLabel("Description").inputValue(), "typed before the fall");
      for (const controller of ["controller-1", "controller-2"]) await cluster.start(controller);
      await page.getByTestId("lost").waitFor({ state: "detached" });
      await page.getByRole("button", { name: "Create repository" }).click();
      await page.getByRole("heading", { name: "kept/name" }).waitFor();
      await page.getByText("typed before the fall").waitFor();
    });
  });

  test("a search among 5,000 repositories", async () => {
    await insertRepositories(database.url, 5000);
    await open({ viewport: desktop }, async (page) => {
      await page.goto("/repositories");
      const total = page.getByTestId("total");
      await waitFor(async () => Number((await total.textContent())?.replaceAll(/\D/g, "")) > 5000, {
        what: "the number",
      });
      await page.getByLabel("Search by name").fill("-04321");
      await row(page, "many/repository-04321").waitFor();
      await waitFor(async () => (await total.textContent())?.startsWith("1 found") === true, {
        what: "one to be found",
      });
      await page.getByLabel("Search by name").fill("many/");
      await waitFor(async () => (await total.textContent())?.startsWith("5,000 found") === true, {
        what: "all of them",
      });
      await page.getByLabel("Order").selectOption("-name");
      await row(page, "many/repository-05000").waitFor();
      // Far more than are on the page: each screen brings the next ones.
      await scrollTo(page, "many/repository-04700", 800);
      assert.ok((await page.locator("tbody tr.row-card").count()) < 80, "only visible rows are in the page");
      // And the first ones come back, which were given up on the way.
      await scrollTo(page, "many/repository-05000", -800);
      await page.getByLabel("Search by name").fill("there/is/none");
      await page.getByText("No repository matches.").waitFor();
    });
  });
});

/** The others are fetched when there is nothing else to do. */
async function everyPageIsLoaded(page: Page): Promise<void> {
  const loaded = `performance.getEntriesByType("resource").filter(({ name }) => /Page-[^/]*\\.js$/.test(name)).length`;
  await waitFor(async () => (await page.evaluate<number>(loaded)) >= 8, { what: "every page", limitMs: 30_000 });
}

/** Turns the wheel until a repository's row is there; each screen brings the next rows. */
async function scrollTo(page: Page, name: string, stepPx: number): Promise<void> {
  const turn = async (): Promise<boolean> => {
    await page.mouse.wheel(0, stepPx);
    return (await page.locator(`tr[data-name="${name}"]`).count()) > 0;
  };
  await waitFor(turn, { what: `the row of ${name}`, limitMs: 60_000 });
}

/** Presses Tab until the focus is on what has this name. */
async function tabTo(page: Page, name: string): Promise<void> {
  for (let press = 0; press < 40; press += 1) {
    await page.keyboard.press("Tab");
    const text = await page.evaluate<string>("document.activeElement?.textContent ?? ''");
    if (text.trim() === name) return;
  }
  assert.fail(`no Tab leads to ${name}`);
}

/** Rows as the controllers would write them, with replicas on the cluster's nodes; their directories are not needed. */
async function insertRepositories(url: string, count: number): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query("begin");
    await client.query(
      `insert into repositories (id, name, object_format, default_branch, description, replicas_wanted, deny_deletes,
         deny_non_fast_forwards, generation, created_ms, pushed_ms, degraded, unhealthy)
       select '01900000-0000-7000-8000-' || lpad(n::text, 12, '0'), 'many/repository-' || lpad(n::text, 5, '0'), 'sha1',
         'refs/heads/master'::bytea, '', 3, 0, 0, 0, n, -1, 0, 0 from generate_series(1, $1) n`,
      [count],
    );
    const { rows } = await client.query<{ column_name: string }>(
      "select column_name from information_schema.columns where table_name = 'replicas' and column_name in ('verified_ms', 'damaged')",
    );
    const more = rows.map(({ column_name }) => column_name);
    await client.query(
      `insert into replicas (repository_id, node_id, position, state, generation, missed_generation, reason,
         state_since_ms, size_bytes${more.map((name) => `, ${name}`).join("")})
       select r.id, n.id, row_number() over (partition by r.id order by n.url), 'READY', 0, -1, '', 0, 0
         ${more.map((name) => (name === "verified_ms" ? ", 4000000000000" : ", 0")).join("")}
       from repositories r cross join nodes n where r.name like 'many/%'`,
    );
    await client.query("commit");
  } finally {
    await client.end();
  }
}
