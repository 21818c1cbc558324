/** Writes docs/settings.md and docs/errors.md from what the program says (`npm run docs`). A test compares them. */
import { writeFileSync } from "node:fs";
import { describeSettings } from "../src/base/config.ts";
import { errorCatalogue } from "../src/base/errors.ts";
import { consoleSettingsSchema, controllerSettingsSchema, nodeSettingsSchema } from "../src/base/settings.ts";

export function settingsPage(): string {
  const roles = [
    ["controller", controllerSettingsSchema],
    ["node", nodeSettingsSchema],
    ["console", consoleSettingsSchema],
  ] as const;
  const sections = roles.map(([role, schema]) => {
    const rows = describeSettings(schema).map(
      ({ name, flag, variable, description, defaultValue, required }) =>
        `| \`${name}\` | \`${flag}\` | \`${variable}\` | ${required ? "must be set" : defaultValue === "" ? "" : `\`${defaultValue}\``} | ${description} |`,
    );
    return `## gitmesh ${role}\n\n| setting | flag | variable | default | what it is |\n|---|---|---|---|---|\n${rows.join("\n")}\n`;
  });
  return `# Settings

A setting comes from a flag, the environment, or a JSON file (\`--config FILE\` or \`GITMESH_CONFIG\`), in this order; the
file has the names of the first column. \`gitmesh config check ROLE\` reports every mistake at once, \`gitmesh config show
ROLE\` shows what is in force, secrets hidden. Times are in milliseconds, sizes in bytes. \`gitmesh up\` passes
\`GITMESH_\` variables on to the servers that it starts.

The cluster secret may be two, separated by a comma, while it is changed: the first is sent, both are accepted.

${sections.join("\n")}`;
}

export function errorsPage(): string {
  const rows = Object.entries(errorCatalogue).map(
    ([code, { status, title, remedy, fault }]) =>
      `| \`${code}\` | ${status} | ${title} | ${remedy} | ${fault === "user" ? "the caller" : "us"} |`,
  );
  return `# Errors

Every error of the API is a problem document ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) with these members:
\`type\` (\`urn:gitmesh:error:CODE\`), \`status\`, \`title\`, \`code\`, \`detail\` (what is wrong this time), \`remedy\` (what to do)
and \`requestId\` (to find it in the logs). Codes are part of the API.

| code | status | title | what to do | whose move |
|---|---|---|---|---|
${rows.join("\n")}
`;
}

if (import.meta.main) {
  const docs = new URL("../docs/", import.meta.url);
  writeFileSync(new URL("settings.md", docs), settingsPage());
  writeFileSync(new URL("errors.md", docs), errorsPage());
}
