// Import boundaries: layers go downward, and a few things are confined to a few files (ARCHITECTURE.md).
// scripts/check-boundaries.cjs runs it and asserts that it saw every module.
"use strict";

const tests = "(\\.test\\.ts$|/testing/)";

/** Modules of `layer` may import nothing of the layers in `above`. */
function below(layer, above) {
  return {
    name: `${layer}-imports-nothing-above`,
    severity: "error",
    from: { path: `^src/${layer}/`, pathNot: tests },
    to: { path: `^src/(${above.join("|")})/|^src/main\\.ts$` },
  };
}

/** The module `name` is imported only by files that match one of `files`. */
function confined(name, module, files) {
  return {
    name: `${name}-is-confined`,
    severity: "error",
    from: { path: "^src/", pathNot: [tests, ...files] },
    to: { path: module },
  };
}

module.exports = {
  forbidden: [
    { name: "no-circles", severity: "error", from: { path: "^(src|test|console)/" }, to: { circular: true } },
    {
      name: "everything-resolves",
      severity: "error",
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: "no-undeclared-packages",
      comment: "A package that is imported is in package.json.",
      severity: "error",
      from: {},
      to: { dependencyTypes: ["npm-no-pkg", "npm-unknown"] },
    },
    {
      name: "servers-need-no-development-packages",
      severity: "error",
      from: { path: "^src/", pathNot: tests },
      to: { dependencyTypes: ["npm-dev"], dependencyTypesNot: ["type-only"] },
    },
    below("base", ["protocol", "store", "controller", "node", "console", "cli"]),
    below("protocol", ["store", "controller", "node", "console", "cli"]),
    below("store", ["controller", "node", "console", "cli"]),
    below("controller", ["node", "console", "cli"]),
    below("node", ["store", "controller", "console", "cli"]),
    below("console", ["store", "controller", "node", "cli"]),
    {
      name: "the-application-takes-types-and-what-is-pure",
      comment: "What runs in the browser has nothing of the servers but names and words.",
      severity: "error",
      from: { path: "^console/src/" },
      to: {
        path: "^src/",
        pathNot: "^src/(protocol/repository-name|base/errors)\\.ts$",
        dependencyTypesNot: ["type-only"],
      },
    },
    {
      name: "the-application-needs-no-node",
      severity: "error",
      from: { path: "^console/src/", pathNot: tests },
      to: { dependencyTypes: ["core"] },
    },
    {
      name: "nobody-imports-tests",
      severity: "error",
      from: { path: "^(src|console/src)/", pathNot: tests },
      to: { path: [tests, "^test/"] },
    },
    {
      name: "end-to-end-tests-know-only-the-outside",
      severity: "error",
      from: { path: "^test/(e2e|chaos)/" },
      to: { path: "^src/" },
    },
    confined("fastify", "node_modules/(fastify|@fastify)/", ["(-route|/server|^src/base/http)\\.ts$"]),
    confined("kysely", "node_modules/(kysely|pg|mysql2)/", ["^src/store/"]),
    confined("node-sqlite", "^(node:)?sqlite$", ["^src/store/"]),
    confined("child-process", "^(node:)?child_process$", [
      "^src/node/git[^/]*\\.ts$",
      "^src/cli/(supervisor|git-version)\\.ts$",
    ]),
    confined("commander", "node_modules/commander/", ["^src/cli/command-line\\.ts$"]),
    confined("pino", "node_modules/pino/", ["^src/base/log\\.ts$"]),
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "node", "default", "types"] },
  },
};
