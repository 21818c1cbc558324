/** Picks the command. The only place that ends the process. */
import { enableCompileCache } from "node:module";
import { fileURLToPath } from "node:url";

// Halves the work of a start. In a directory of the project's own: what lies there is run.
enableCompileCache(fileURLToPath(new URL("../node_modules/.cache/compile", import.meta.url)));
// Imported after that, so that it is cached.
const { runCommandLine } = await import("./cli/command-line.ts");

process.exit(await runCommandLine(process.argv.slice(2)));
