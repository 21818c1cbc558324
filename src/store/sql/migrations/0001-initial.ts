/** Repositories, replicas, refs, ref log, tombstones, nodes, leases. */
import type { Engine } from "../engine.ts";
import type { Migration } from "./migration.ts";

interface Types {
  readonly id: string;
  readonly nodeId: string;
  readonly name: string;
  readonly refName: string;
  readonly oid: string;
  readonly key: string;
  readonly text: string;
  readonly word: string;
  readonly integer: string;
  readonly flag: string;
  readonly real: string;
  readonly blob: string;
  /** After the closing parenthesis of a table. */
  readonly table: string;
  /** The same for tables that are read by ranges of their key. */
  readonly clustered: string;
}

const ascii = "character set ascii collate ascii_bin";
const innodb = " engine=InnoDB row_format=dynamic default charset=utf8mb4 collate=utf8mb4_bin";
const types: Readonly<Record<Engine["kind"], Types>> = {
  sqlite: {
    id: "text",
    nodeId: "text",
    name: "text",
    refName: "blob",
    oid: "text",
    key: "text",
    text: "text",
    word: "text",
    integer: "integer",
    flag: "integer",
    real: "real",
    blob: "blob",
    table: "",
    clustered: " without rowid",
  },
  mysql: {
    id: `char(36) ${ascii}`,
    nodeId: `varchar(64) ${ascii}`,
    name: "varbinary(1020)",
    refName: "varbinary(1024)",
    oid: `varchar(64) ${ascii}`,
    key: "varchar(512)",
    text: "text",
    word: "varchar(64)",
    integer: "bigint",
    flag: "smallint",
    real: "double",
    blob: "longblob",
    table: innodb,
    clustered: innodb,
  },
  postgres: {
    id: 'text collate "C"',
    nodeId: 'text collate "C"',
    name: 'text collate "C"',
    refName: "bytea",
    oid: 'text collate "C"',
    key: 'text collate "C"',
    text: "text",
    word: "text",
    integer: "bigint",
    flag: "smallint",
    real: "double precision",
    blob: "bytea",
    table: "",
    clustered: "",
  },
};

export const initial: Migration = {
  name: "initial",
  statements(kind) {
    const t = types[kind];
    // MySQL has no "create index if not exists": its indexes are part of the table.
    const inline = kind === "mysql";
    const indexes = (table: string, list: Readonly<Record<string, string>>): string =>
      inline
        ? Object.entries(list)
            .map(([name, columns]) => `, key ${table}_${name} (${columns})`)
            .join("")
        : "";
    const apart = (table: string, list: Readonly<Record<string, string>>): string[] =>
      inline
        ? []
        : Object.entries(list).map(
            ([name, columns]) => `create index if not exists ${table}_${name} on ${table} (${columns})`,
          );
    const repositoryIndexes = {
      pushed: "pushed_ms, name",
      created: "created_ms, name",
      degraded: "degraded, name",
      unhealthy: "unhealthy, id",
    };
    const replicaIndexes = { node: "node_id, repository_id" };
    return [
      `create table if not exists repositories (
        id ${t.id} not null primary key,
        name ${t.name} not null,
        object_format ${t.word} not null,
        default_branch ${t.refName} not null,
        description ${t.text} not null,
        replicas_wanted ${t.integer} not null,
        deny_deletes ${t.flag} not null,
        deny_non_fast_forwards ${t.flag} not null,
        generation ${t.integer} not null,
        created_ms ${t.integer} not null,
        pushed_ms ${t.integer} not null,
        degraded ${t.flag} not null,
        unhealthy ${t.flag} not null,
        unique (name)${indexes("repositories", repositoryIndexes)}
      )${t.table}`,
      ...apart("repositories", repositoryIndexes),
      `create table if not exists replicas (
        repository_id ${t.id} not null,
        node_id ${t.nodeId} not null,
        position ${t.integer} not null,
        state ${t.word} not null,
        generation ${t.integer} not null,
        missed_generation ${t.integer} not null,
        reason ${t.text} not null,
        state_since_ms ${t.integer} not null,
        size_bytes ${t.integer} not null,
        primary key (repository_id, node_id)${indexes("replicas", replicaIndexes)},
        foreign key (repository_id) references repositories (id) on delete cascade
      )${t.clustered}`,
      ...apart("replicas", replicaIndexes),
      `create table if not exists refs (
        repository_id ${t.id} not null,
        name ${t.refName} not null,
        oid ${t.oid} not null,
        peeled ${t.oid},
        primary key (repository_id, name)
      )${t.clustered}`,
      `create table if not exists ref_log (
        repository_id ${t.id} not null,
        generation ${t.integer} not null,
        part ${t.integer} not null,
        parts ${t.integer} not null,
        push_id ${t.nodeId} not null,
        committed_ms ${t.integer} not null,
        changes ${t.blob} not null,
        primary key (repository_id, generation, part),
        unique (repository_id, push_id, part)
      )${t.table}`,
      `create table if not exists tombstones (
        repository_id ${t.id} not null primary key,
        name ${t.name} not null,
        deleted_ms ${t.integer} not null
      )${t.table}`,
      `create table if not exists nodes (
        id ${t.nodeId} not null primary key,
        url ${t.key} not null,
        boot_id ${t.word} not null,
        version ${t.word} not null,
        registered_ms ${t.integer} not null,
        heartbeat_ms ${t.integer} not null,
        disk_usage ${t.real} not null,
        disk_free_bytes ${t.integer} not null,
        unique (url)
      )${t.table}`,
      `create table if not exists leases (
        name ${t.key} not null primary key,
        holder ${t.key} not null,
        fencing ${t.integer} not null,
        expires_ms ${t.integer} not null
      )${t.table}`,
    ];
  },
};
