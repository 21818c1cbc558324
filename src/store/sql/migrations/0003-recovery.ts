/**
 * What is needed when something was lost: the ids of transactions whose COMMIT may stay without an answer, and whether a
 * repository's replicas were seen at a later generation than the store has.
 */
import type { Migration } from "./migration.ts";

export const recovery: Migration = {
  name: "recovery",
  statements(kind) {
    const integer = kind === "sqlite" ? "integer" : "bigint";
    const id = {
      sqlite: "text",
      mysql: "char(36) character set ascii collate ascii_bin",
      postgres: 'text collate "C"',
    };
    // The column comes last: MySQL commits each statement for itself, and a migration that broke off before it is run again.
    const table = kind === "mysql" ? " engine=InnoDB" : "";
    return [
      `create table if not exists operations (id ${id[kind]} not null primary key, begun_ms ${integer} not null)${table}`,
      `alter table repositories add column ahead_generation ${integer} not null default -1`,
    ];
  },
};
