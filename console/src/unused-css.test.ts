import assert from "node:assert/strict";
import { test } from "node:test";
import { withoutUnused } from "../unused-css.ts";

const isUsed = (name: string): boolean => ["a", "b-1", "w-1/2"].includes(name);
const cases: readonly (readonly [string, string])[] = [
  [".a{x:y}.c{x:y}", ".a{x:y}"],
  [".c,.a,.a .c,.a>.b-1{x:y}", ".a,.a>.b-1{x:y}"],
  ["@media (min-width:1px){.c{x:y}}.a{x:y}", ".a{x:y}"],
  ["@media (min-width:1px){.c{x:y}.a{x:y}}", "@media (min-width:1px){.a{x:y}}"],
  ["@charset \"utf-8\";@import 'x';body{x:y}", "@charset \"utf-8\";@import 'x';body{x:y}"],
  ["@keyframes c{0%{x:y}to{x:y}}", "@keyframes c{0%{x:y}to{x:y}}"],
  ["@font-face{src:url('a;}{.c')}", "@font-face{src:url('a;}{.c')}"],
  [".a:not(.c,:is(.d)),.c:not(.a){x:y}", ".a:not(.c,:is(.d)){x:y}"],
  ['.a[href=".c"]::after{content:"}.c{"}', '.a[href=".c"]::after{content:"}.c{"}'],
  [".w-1\\/2{x:y}.w-1\\/3{x:y}", ".w-1\\/2{x:y}"],
  [":root,[data-bs-theme=light]{--x:1}", ":root,[data-bs-theme=light]{--x:1}"],
];
for (const [css, kept] of cases) {
  test(`of ${css}`, () => {
    assert.equal(withoutUnused(css, isUsed), kept);
  });
}
