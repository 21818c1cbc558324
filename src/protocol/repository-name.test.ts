import assert from "node:assert/strict";
import { posix } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { GitmeshError } from "../base/errors.ts";
import { parseRepositoryName, repositoryNameFromUrlPath } from "./repository-name.ts";

function refuses(parse: () => string, message: string): void {
  assert.throws(
    parse,
    (error) => error instanceof GitmeshError && error.code === "bad-repository-name" && error.message !== "",
    message,
  );
}

const names = [
  "repo",
  "owner/repo",
  "a/b/c/d",
  "R.e_p-o",
  "0",
  "_x/y",
  "info/refs",
  "git-upload-pack",
  "_Delete",
  "_1",
  "x_delete",
  "a".repeat(100),
];
const notNames = [
  "",
  "/",
  "/a",
  "a/",
  "a//b",
  ".",
  "..",
  "a/..",
  "../a",
  "a/./b",
  ".a",
  "-a",
  "a/-b",
  "a/.b",
  "a.git",
  "a.GIT",
  "a.Git/b",
  "a.lock",
  "a.LoCk",
  ".git",
  "_delete",
  "a/_delete",
  "_catch-up",
  "a b",
  "a\\b",
  "a\0b",
  "a\nb",
  "a%2fb",
  "a:b",
  "a?b",
  "a#b",
  "a@b",
  "ä",
  "a\u2044b",
  "ａ",
  "a\n",
  "a".repeat(101),
  `${"a/".repeat(127)}aa`,
];

test("names are what they are", () => {
  for (const name of [...names, `${"a/".repeat(127)}a`]) assert.equal(parseRepositoryName(name), name);
});

test("anything else is refused with a reason", () => {
  for (const name of notNames) refuses(() => parseRepositoryName(name), JSON.stringify(name));
});

test("clone URLs come with and without .git, plain characters encoded or not", () => {
  for (const name of names) {
    const encoded = name.replaceAll(/[^/]/g, (character) => `%${character.charCodeAt(0).toString(16)}`);
    for (const path of [name, `${name}.git`, `${name}%2egit`, encoded, encoded.toUpperCase()]) {
      assert.equal(repositoryNameFromUrlPath(path), name, path);
    }
  }
});

test("attempts to leave in any encoding are refused", () => {
  const paths = [
    "..",
    "../x",
    "x/../y",
    "%2e%2e/x",
    ".%2e/x",
    "x/%2E%2E",
    "%252e%252e/x",
    "%2%65%2%65/x",
    "%c0%ae%c0%ae/x",
    "%u002e%u002e/x",
    "a%2fb",
    "a%2Fb",
    "a%5cb",
    "a\\b",
    "a%00",
    "a%00.git",
    "a%0a",
    "a%0d%0ab",
    "a%252fb",
    "a%25",
    "a%",
    "a%2",
    "a%zz",
    "a+b",
    "a%20b",
    ".git",
    "a.git.git",
    "a.git/",
    "a.GIT",
    "a%2egit%2egit",
    "/etc/passwd",
    "//a",
    "a//b",
    "a;b",
    "a.git?x",
    "%ef%bc%8e%ef%bc%8e/x",
  ];
  for (const path of paths) refuses(() => repositoryNameFromUrlPath(path), path);
});

test("whatever is accepted stays below its directory and means the same decoded again", () => {
  const piece = fc.constantFrom(
    "a",
    "B",
    ".",
    "..",
    "/",
    "%2e",
    "%2f",
    "%5c",
    "%25",
    "2e",
    "2f",
    "%00",
    "_",
    "-",
    "\\",
    ".git",
    ".lock",
    "é",
    " ",
  );
  const anyPath = fc.oneof(
    fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join("")),
    fc.string(),
    fc.string({ unit: "binary" }),
  );
  let accepted = 0;
  fc.assert(
    fc.property(anyPath, (path) => {
      for (const parse of [parseRepositoryName, repositoryNameFromUrlPath]) {
        let name: string;
        try {
          name = parse(path);
        } catch (error) {
          assert.ok(error instanceof GitmeshError && error.code === "bad-repository-name");
          continue;
        }
        accepted += 1;
        assert.match(name, /^[A-Za-z0-9._/-]{1,255}$/);
        assert.equal(posix.normalize(`/base/${name}`), `/base/${name}`);
        assert.equal(decodeURIComponent(name), name);
        assert.equal(parseRepositoryName(name), name);
      }
    }),
    { numRuns: 1500 },
  );
  assert.ok(accepted > 100);
});
