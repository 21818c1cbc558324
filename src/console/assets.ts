/**
 * The built application, in memory and compressed. It is built first when that is needed: a checkout has its sources
 * only, and an image may have the built one only.
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { extname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";

export interface Asset {
  readonly type: string;
  /** By content coding; "identity" is always there. */
  readonly bodies: ReadonlyMap<string, Buffer>;
  /** Its name changes with its content. */
  readonly immutable: boolean;
  /** Of the scripts within a page, as its content security policy names them (CSP 3, 2.3.1). */
  readonly scriptHashes: readonly string[];
}

/** Of each section its list, and what is shown of one thing in it. */
const pages: Readonly<Record<string, readonly [string, string?] | undefined>> = {
  "": ["OverviewPage"],
  repositories: ["RepositoriesPage", "RepositoryPage"],
  nodes: ["NodesPage", "NodePage"],
  work: ["WorkPage"],
  events: ["EventsPage"],
};
const types: Readonly<Record<string, string>> = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".png": "image/png",
  ".svg": "image/svg+xml",
};
/** For what the build has not compressed: good enough, and quick. */
const brotliQuality = 6;

/** Files by path, as in "/assets/index-abc.js". Throws one sentence when there is nothing to serve. */
export async function loadAssets(): Promise<ReadonlyMap<string, Asset>> {
  const directory = fileURLToPath(new URL("../../console/", import.meta.url));
  await build(directory);
  const root = join(directory, "dist");
  const files = readdirSync(root, { recursive: true, encoding: "utf8" })
    .map((name) => join(root, name))
    .filter((file) => statSync(file).isFile() && extname(file) in types);
  const assets = await Promise.all(
    files.map(async (file) => [`/${relative(root, file)}`, await assetOf(file)] as const),
  );
  return new Map(assets);
}

async function build(directory: string): Promise<void> {
  // The workspace builds itself; what that needs is not among the servers' packages.
  const { buildConsole } = (await import(join(directory, "build.ts"))) as { buildConsole: () => Promise<unknown> };
  try {
    await buildConsole();
  } catch (error) {
    throw new Error("The console's pages cannot be built; run `npm install` and see what `npm run build` says.", {
      cause: error,
    });
  }
}

async function assetOf(file: string): Promise<Asset> {
  const body = readFileSync(file);
  const type = types[extname(file)] ?? "";
  const bodies = new Map([["identity", body]]);
  if (extname(file) !== ".png") {
    bodies.set("br", await compressed(file, body));
    bodies.set("gzip", await promisify(gzip)(body));
  }
  const scriptHashes = extname(file) === ".html" ? hashesOf(body.toString()) : [];
  return { type, bodies, immutable: file.includes("/assets/"), scriptHashes };
}

async function compressed(file: string, body: NonSharedBuffer): Promise<NonSharedBuffer> {
  if (existsSync(`${file}.br`)) return readFileSync(`${file}.br`);
  return promisify(brotliCompress)(body, { params: { [constants.BROTLI_PARAM_QUALITY]: brotliQuality } });
}

function hashesOf(html: string): string[] {
  return [...html.matchAll(/<script>([^]*?)<\/script>/g)].map(
    ([, script = ""]) => `'sha256-${createHash("sha256").update(script).digest("base64")}'`,
  );
}

/**
 * The page for an address: with what it needs named in it, where the build knows it. Which pages there are is the
 * application's affair (console/src/router.ts): any other address gets the page without that.
 */
export function pageFor(assets: ReadonlyMap<string, Asset>, path: string): Asset | undefined {
  const [, section = "", rest = ""] = /^\/([^/]*)\/?(.*)$/.exec(path) ?? [];
  const names = pages[section];
  const name = rest === "" ? names?.[0] : names?.[1];
  return assets.get(`/pages/${name ?? ""}.html`) ?? assets.get("/index.html");
}

/** The best coding that a client takes (Accept-Encoding), of those there are. */
export function chooseBody(asset: Asset, accepted: string): { readonly coding: string; readonly body: Buffer } {
  const taken = accepted.split(",").map((part) => part.trim().split(";", 1)[0] ?? "");
  const coding = ["br", "gzip"].find((name) => taken.includes(name) && asset.bodies.has(name)) ?? "identity";
  return { coding, body: asset.bodies.get(coding) ?? Buffer.alloc(0) };
}
