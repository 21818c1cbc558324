/**
 * Builds the application into dist/, unless what is there was built from the same sources and packages.
 *
 *   node console/build.ts
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const here = import.meta.dirname;
const dist = join(here, "dist");
const stampName = ".built-from";

/** Safe when several processes build at once: each builds by itself, the first one's stays. */
export async function buildConsole(): Promise<"built" | "current"> {
  // An image may have the built application only.
  if (!existsSync(join(here, "src")) && existsSync(dist)) return "current";
  const sources = hashOfSources();
  if (stampOf(dist) === sources) return "current";
  const { build } = await import("vite");
  const { default: vue } = await import("@vitejs/plugin-vue");
  const building = join(here, `dist.${process.pid}`);
  try {
    await build({
      configFile: false,
      root: here,
      logLevel: "warn",
      plugins: [vue()],
      // Vue's own switches: what is not used is left out.
      define: { __VUE_OPTIONS_API__: "true", __VUE_PROD_DEVTOOLS__: "false" },
      build: {
        outDir: building,
        target: "es2023",
        // Nothing inline: the content security policy allows none of it.
        assetsInlineLimit: 0,
        modulePreload: { polyfill: false },
        reportCompressedSize: false,
        chunkSizeWarningLimit: 1000,
      },
    });
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

function hashOfSources(): string {
  const hash = createHash("sha256");
  const files = [join(here, "build.ts"), join(here, "index.html"), join(here, "..", "package-lock.json")];
  for (const folder of ["src", "public"]) {
    for (const name of readdirSync(join(here, folder), { recursive: true, encoding: "utf8" }).toSorted()) {
      const file = join(here, folder, name);
      if (statSync(file).isFile()) files.push(file);
    }
  }
  // What the application shares with the servers.
  for (const name of ["base/errors.ts", "protocol/repository-name.ts"]) files.push(join(here, "..", "src", name));
  for (const file of files) hash.update(file.slice(here.length)).update(readFileSync(file));
  return hash.digest("hex");
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
