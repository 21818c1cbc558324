/**
 * `npm run mutations [-- PART-OF-A-NAME ...]`: makes each deliberate fault of catalogue.ts in a copy of the project and
 * runs the test that must fail, which must pass without the fault. Prints a line each; exits with 1 when one is not caught.
 */
import { execFile } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mutations, type Mutation } from "./catalogue.ts";

const root = join(import.meta.dirname, "..", "..");
const copied = ["src", "test", "bin", "docs", "package.json", "tsconfig.json", "README.md"];
const testMs = 10 * 60_000;
const atOnce = 2;

const wanted = process.argv.slice(2);
const chosen = mutations.filter(({ name }) => wanted.length === 0 || wanted.some((part) => name.includes(part)));
if (chosen.length === 0) throw new Error("no mutation has such a name");

/** What fails without any fault, by test file. */
const failing = new Map<string, Promise<readonly string[]>>();
const waiting = [...chosen];
let caught = 0;

async function tryWaiting(): Promise<void> {
  for (let mutation = waiting.shift(); mutation !== undefined; mutation = waiting.shift()) {
    const { name, test } = mutation;
    const without = failing.get(test) ?? failuresIn(test);
    failing.set(test, without);
    const known = await without;
    const failures = (await failuresIn(test, mutation)).filter((failed) => !known.includes(failed));
    if (failures.length > 0) caught += 1;
    const said = failures.length > 0 ? `caught by ${failures[0] ?? ""}` : "NOT CAUGHT";
    process.stdout.write(`${failures.length > 0 ? "✔" : "✖"} ${name}: ${said}\n`);
  }
}

await Promise.all(Array.from({ length: atOnce }, tryWaiting));
process.stdout.write(`\n${caught} of ${chosen.length} mutations caught\n`);
process.exitCode = caught === chosen.length ? 0 : 1;

/** Names of the tests of this file that failed, with the fault made. */
async function failuresIn(test: string, fault?: Mutation): Promise<string[]> {
  const copy = mkdtempSync(join(tmpdir(), "gitmesh-mutation-"));
  try {
    for (const name of copied) cpSync(join(root, name), join(copy, name), { recursive: true });
    symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
    if (fault !== undefined) {
      const file = join(copy, fault.file);
      // A function, so that "$" means nothing in the replacement.
      const source = readFileSync(file, "utf8").replace(fault.find, () => fault.replace);
      writeFileSync(file, source);
    }
    const output = await outputOf(copy, test);
    return [...output.matchAll(/^ {2}✖ (.+)$/gm)].map(([, name = ""]) => name);
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

function outputOf(directory: string, test: string): Promise<string> {
  const options = { cwd: directory, timeout: testMs, maxBuffer: 64 * 1024 * 1024 };
  return new Promise((resolve) => {
    execFile(process.execPath, ["test/run.ts", test], options, (_error, stdout) => resolve(stdout));
  });
}
