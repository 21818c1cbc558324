/** Picks the command. The only place that ends the process. */
import { runCommandLine } from "./cli/command-line.ts";

process.exit(await runCommandLine(process.argv.slice(2)));
