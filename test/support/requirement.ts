/** Checks that need something which not every machine has. */
import { spawnSync } from "node:child_process";

/** With GITMESH_TEST_ALL=1 nothing is left out: a check whose program is missing runs, and fails. */
const everything = process.env["GITMESH_TEST_ALL"] === "1";

/** Options of a test that needs `what`; where it is missing the test is skipped, and `npm test` says why. */
export function needs(what: string, available: boolean): { readonly skip?: string } {
  return available || everything ? {} : { skip: `${what} is not on this machine` };
}

/** A Python that has this module: Debian's packages are for the system's own. */
export function pythonWith(module: string): string | undefined {
  return ["/usr/bin/python3", "python3"].find(
    (python) => spawnSync(python, ["-c", `import ${module}`], { stdio: "ignore" }).status === 0,
  );
}
