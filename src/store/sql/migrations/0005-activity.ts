/** Events, work and samples for people; draining nodes, replicas that are to leave their node. */
import type { Engine } from "../engine.ts";
import type { Migration } from "./migration.ts";

interface Types {
  readonly id: string;
  readonly node: string;
  readonly name: string;
  readonly word: string;
  readonly text: string;
  readonly integer: string;
  readonly flag: string;
  readonly real: string;
  /** An integer that the database counts up, never twice the same. */
  readonly serial: string;
  readonly table: string;
}

const ascii = "character set ascii collate ascii_bin";
const types: Readonly<Record<Engine["kind"], Types>> = {
  sqlite: {
    id: "text",
    node: "text",
    name: "text",
    word: "text",
    text: "text",
    integer: "integer",
    flag: "integer",
    real: "real",
    serial: "integer primary key autoincrement",
    table: "",
  },
  mysql: {
    id: `varchar(36) ${ascii}`,
    node: `varchar(64) ${ascii}`,
    name: "varbinary(1020)",
    word: "varchar(64)",
    text: "text",
    integer: "bigint",
    flag: "smallint",
    real: "double",
    serial: "bigint not null auto_increment primary key",
    table: " engine=InnoDB row_format=dynamic default charset=utf8mb4 collate=utf8mb4_bin",
  },
  postgres: {
    id: 'text collate "C"',
    node: 'text collate "C"',
    name: 'text collate "C"',
    word: "text",
    text: "text",
    integer: "bigint",
    flag: "smallint",
    real: "double precision",
    serial: "bigint generated always as identity primary key",
    table: "",
  },
};

export const activity: Migration = {
  name: "activity",
  statements(kind) {
    const t = types[kind];
    // MySQL has no "create index if not exists": its indexes are part of the table.
    const inline = kind === "mysql";
    const indexes = {
      repository: "repository_id, id",
      node: "node_id, id",
      kind: "kind, id",
      name: "repository_name, id",
      at: "at_ms",
    };
    const keys = Object.entries(indexes).map(([name, columns]) => `, key events_${name} (${columns})`);
    const repositories = {
      wanted: "replicas_wanted",
      ahead: "ahead_generation",
      degraded_pushed: "degraded, pushed_ms, name",
      degraded_created: "degraded, created_ms, name",
    };
    return [
      // What is told of all repositories at once, and lists of one state, are read from the ends of these.
      ...Object.entries(repositories).map(([name, column]) =>
        inline
          ? `alter table repositories add key repositories_${name} (${column})`
          : `create index if not exists repositories_${name} on repositories (${column})`,
      ),
      `create table if not exists events (
        id ${t.serial},
        at_ms ${t.integer} not null,
        kind ${t.word} not null,
        repository_id ${t.id} not null,
        repository_name ${t.name} not null,
        node_id ${t.node} not null,
        detail ${t.text} not null${inline ? keys.join("") : ""}
      )${t.table}`,
      ...(inline
        ? []
        : Object.entries(indexes).map(
            ([name, columns]) => `create index if not exists events_${name} on events (${columns})`,
          )),
      `create table if not exists work (
        repository_id ${t.id} not null,
        node_id ${t.node} not null,
        repository_name ${t.name} not null,
        kind ${t.word} not null,
        state ${t.word} not null,
        started_ms ${t.integer} not null,
        updated_ms ${t.integer} not null,
        progress ${t.real} not null,
        detail ${t.text} not null,
        failures ${t.integer} not null,
        primary key (repository_id, node_id)
      )${t.table}`,
      `create table if not exists samples (
        start_ms ${t.integer} not null,
        subject ${t.node} not null,
        numbers ${t.text} not null,
        primary key (start_ms, subject)
      )${t.table}`,
      // Apart from the tables that they are about: a column cannot be added twice, and this may be run again.
      `create table if not exists node_states (
        node_id ${t.node} not null primary key,
        draining ${t.flag} not null,
        told_dead ${t.flag} not null,
        load_average ${t.real} not null
      )${t.table}`,
      `create table if not exists leaving_replicas (
        repository_id ${t.id} not null,
        node_id ${t.node} not null,
        since_ms ${t.integer} not null,
        primary key (repository_id, node_id)
      )${t.table}`,
    ];
  },
};
