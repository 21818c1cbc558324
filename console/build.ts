/**
 * Builds the application into dist/, unless what is there was built from the same sources and packages.
 *
 *   node console/build.ts
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { brotliCompressSync } from "node:zlib";
import type { Plugin, Rolldown } from "vite";
import type { withoutUnused } from "./unused-css.ts";

const here = import.meta.dirname;
const dist = join(here, "dist");
const stampName = ".built-from";
/** What several pages use is one file: many small ones cost more than they save. */
const chunkGroups = [
  {
    name: "parts",
    test: /console\/src\/(?:components\/(?:CopyButton|EventList|MomentText|ProblemAlert|QueryState|Replica(?:Counts|Marks)|RowMenu|StateBadge|UsageBar)\.vue|[a-z-]+\.ts|data\/)|@lucide/,
  },
];
/** Classes that are put together while the application runs, so that they are nowhere in it as a word. */
const composedClasses = /^(?:bg|btn|dot|dropdown|form|is|modal|text|tone|u)-/;

/** Safe when several processes build at once: each builds by itself, the first one's stays. */
export async function buildConsole(): Promise<"built" | "current"> {
  // An image may have the built application only.
  if (!existsSync(join(here, "src")) && existsSync(dist)) return "current";
  const sources = hashOfSources();
  if (stampOf(dist) === sources) return "current";
  const { build } = await import("vite");
  const { withoutUnused } = await import("./unused-css.ts");
  const { default: vue } = await import("@vitejs/plugin-vue");
  const building = join(here, `dist.${process.pid}`);
  try {
    const built = await build({
      configFile: false,
      root: here,
      logLevel: "warn",
      plugins: [thinStyles(withoutUnused), vue()],
      // Vue's own switches: what is not used is left out.
      define: { __VUE_OPTIONS_API__: "true", __VUE_PROD_DEVTOOLS__: "false" },
      build: {
        outDir: building,
        target: "es2023",
        // Nothing inline: the content security policy allows none of it.
        assetsInlineLimit: 0,
        rolldownOptions: { output: { codeSplitting: { groups: chunkGroups } } },
        modulePreload: { polyfill: false },
        reportCompressedSize: false,
        chunkSizeWarningLimit: 1000,
      },
    });
    const outputs = "output" in built ? [built] : Array.isArray(built) ? built : [];
    writePages(
      building,
      outputs.flatMap(({ output }) => output.filter((each) => each.type === "chunk")),
    );
    compress(join(building, "assets"));
    writeFileSync(join(building, stampName), sources);
    if (stampOf(dist) === sources) return "current";
    rmSync(dist, { recursive: true, force: true });
    renameSync(building, dist);
  } catch (error) {
    // Another process may have put the same there in between.
    if (stampOf(dist) !== sources) throw error;
  } finally {
    rmSync(building, { recursive: true, force: true });
  }
  return "built";
}

/** Takes what nothing of ours can match out of Bootstrap's style sheets, before their names are made of their content. */
function thinStyles(without: typeof withoutUnused): Plugin {
  let words: ReadonlySet<string> | undefined;
  return {
    name: "thin-styles",
    enforce: "pre",
    transform(code, id) {
      if (!/\/node_modules\/bootstrap[^?]*\.css$/.test(id)) return null;
      const known = (words ??= wordsOfSources());
      const isUsed = (word: string): boolean => composedClasses.test(word) || known.has(word);
      return without(code.replaceAll(/\/\*[^]*?\*\//g, ""), isUsed);
    },
  };
}

/** Each word of our own sources, and of the components that they import with what those import. */
function wordsOfSources(): Set<string> {
  const { resolve } = createRequire(import.meta.url);
  const own = sourceFiles("src").map((file) => readFileSync(file, "utf8"));
  const texts = new Map<string, string>();
  const waiting = own.flatMap((text) =>
    [...text.matchAll(/bootstrap-vue-next\/components\/\w+/g)].map(([name]) => resolve(name)),
  );
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    if (texts.has(file)) continue;
    const text = readFileSync(file, "utf8");
    texts.set(file, text);
    for (const [, path = ""] of text.matchAll(/(?:from|import|require\()\s*["'`](\.[^"'`]+)["'`]/g))
      waiting.push(join(dirname(file), path));
  }
  const words = new Set(
    [...own, ...texts.values(), readFileSync(join(here, "index.html"), "utf8")].join("\n").match(/[\w-]+/g),
  );
  // Without them there is no dialog, and no menu: then the components were not read.
  for (const word of ["modal", "dropdown-menu", "btn-close"]) {
    if (!words.has(word)) throw new Error(`the word ${word} is nowhere in the components`);
  }
  return words;
}

/**
 * index.html once more for each page, as pages/NAME.html: with all that this page needs named in it. Otherwise a browser
 * learns of a page's files only when the application runs.
 */
function writePages(directory: string, chunks: readonly Rolldown.OutputChunk[]): void {
  const byFile = new Map(chunks.map((chunk) => [chunk.fileName, chunk]));
  const index = readFileSync(join(directory, "index.html"), "utf8");
  mkdirSync(join(directory, "pages"));
  for (const { facadeModuleId, fileName } of chunks) {
    const [, name] = /\/src\/pages\/(\w+)\.vue$/.exec(facadeModuleId ?? "") ?? [];
    if (name === undefined) continue;
    const links = [...filesFor(byFile, fileName)]
      .filter((file) => !index.includes(`/${file}`))
      .map((file) =>
        file.endsWith(".css")
          ? `<link rel="stylesheet" crossorigin href="/${file}">`
          : `<link rel="modulepreload" crossorigin href="/${file}">`,
      );
    writeFileSync(join(directory, "pages", `${name}.html`), index.replace("</head>", `${links.join("")}</head>`));
  }
}

/** A chunk with its styles and all that it imports. */
function filesFor(
  chunks: ReadonlyMap<string, Rolldown.OutputChunk>,
  file: string,
  seen = new Set<string>(),
): Set<string> {
  const chunk = chunks.get(file);
  if (chunk === undefined || seen.has(file)) return seen;
  seen.add(file);
  for (const style of chunk.viteMetadata?.importedCss ?? []) seen.add(style);
  for (const imported of chunk.imports) filesFor(chunks, imported, seen);
  return seen;
}

/** Once and well, here: the console's server would have to hurry. */
function compress(directory: string): void {
  for (const name of readdirSync(directory).filter((each) => /\.(?:css|js)$/.test(each))) {
    writeFileSync(join(directory, `${name}.br`), brotliCompressSync(readFileSync(join(directory, name))));
  }
}

function hashOfSources(): string {
  const hash = createHash("sha256");
  const files = ["build.ts", "unused-css.ts", "index.html", "../package-lock.json"].map((name) => join(here, name));
  files.push(...sourceFiles("src"), ...sourceFiles("public"));
  // What the application shares with the servers.
  for (const name of ["base/errors.ts", "protocol/repository-name.ts"]) files.push(join(here, "..", "src", name));
  for (const file of files) hash.update(file.slice(here.length)).update(readFileSync(file));
  return hash.digest("hex");
}

function sourceFiles(folder: string): string[] {
  return readdirSync(join(here, folder), { recursive: true, encoding: "utf8" })
    .toSorted()
    .map((name) => join(here, folder, name))
    .filter((file) => statSync(file).isFile() && !file.endsWith(".test.ts"));
}

function stampOf(directory: string): string {
  try {
    return readFileSync(join(directory, stampName), "utf8");
  } catch {
    return "";
  }
}

if (import.meta.main) {
  const startMs = performance.now();
  if ((await buildConsole()) === "built")
    console.log(`Built the console in ${((performance.now() - startMs) / 1000).toFixed(1)} s.`);
}
