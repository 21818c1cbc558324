/** Which copy a replica's record is about: another when what was on the disk is not what is there now. */
import type { Migration } from "./migration.ts";

export const copies: Migration = {
  name: "copies",
  statements(kind) {
    const integer = kind === "sqlite" ? "integer" : "bigint";
    return [`alter table replicas add column copy_number ${integer} not null default 0`];
  },
};
