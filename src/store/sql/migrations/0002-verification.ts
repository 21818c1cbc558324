/** When each replica was last verified, and whether it is known to be damaged. */
import type { Migration } from "./migration.ts";

export const verification: Migration = {
  name: "verification",
  statements(kind) {
    const integer = kind === "sqlite" ? "integer" : "bigint";
    const flag = kind === "sqlite" ? "integer" : "smallint";
    const verified = `add column verified_ms ${integer} not null default -1`;
    const damaged = `add column damaged ${flag} not null default 0`;
    const columns = "node_id, state, verified_ms";
    // MySQL commits each statement by itself: one does it all or nothing.
    if (kind === "mysql")
      return [`alter table replicas ${verified}, ${damaged}, add key replicas_verified (${columns})`];
    return [
      `alter table replicas ${verified}`,
      `alter table replicas ${damaged}`,
      `create index if not exists replicas_verified on replicas (${columns})`,
    ];
  },
};
