/** A real browser: the system's Chromium, driven by Playwright. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import axe, { type AxeResults } from "axe-core";
import { chromium, type Browser, type BrowserContext, type Page } from "playwright-core";

const program = "/usr/bin/chromium";
export const hasBrowser = existsSync(program);
const stepLimitMs = 30_000;

export const desktop = { width: 1280, height: 860 };
export const phone = { width: 390, height: 844 };

export function openBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: program,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

export interface PageOptions {
  readonly viewport?: { readonly width: number; readonly height: number };
  readonly colorScheme?: "light" | "dark";
  /** What the page's own console may say: a connection that a test breaks is told there. */
  readonly expected?: RegExp;
}

/** A page of its own for one test; it fails when the page threw, or its policy refused something. */
export async function withPage(
  browser: Browser,
  url: string,
  options: PageOptions,
  work: (page: Page, context: BrowserContext) => Promise<void>,
): Promise<void> {
  const { viewport = desktop, colorScheme = "light", expected } = options;
  const context = await browser.newContext({ baseURL: url, viewport, colorScheme, reducedMotion: "reduce" });
  context.setDefaultTimeout(stepLimitMs);
  const page = await context.newPage();
  const said: string[] = [];
  page.on("pageerror", (error) => said.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" && expected?.test(message.text()) !== true) said.push(message.text());
  });
  try {
    await work(page, context);
    assert.deepEqual(said, [], "errors in the page");
  } finally {
    await context.close();
  }
}

/** What axe-core finds wrong on the page as it is, a line each. */
export async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const found = await page.evaluate<AxeResults>("axe.run({ resultTypes: ['violations'] })");
  return found.violations.flatMap(({ id, nodes }) =>
    nodes.slice(0, 3).map(({ html, any }) => `${id}: ${html.slice(0, 160)} ${any[0]?.message ?? ""}`),
  );
}
