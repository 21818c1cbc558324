/** Whether a database server keeps what it acknowledged. What a session can set is set there; the rest is told. */
import { sql } from "kysely";
import type { Logger } from "../../base/log.ts";
import type { Database } from "./database.ts";

/** Logs a warning for each setting of the server under which a crash of its machine loses committed pushes. */
export async function warnOfLostCommits(database: Database, log: Logger): Promise<void> {
  const { kind, name } = database.engine;
  if (kind === "sqlite") return;
  const settings =
    kind === "mysql"
      ? sql<Settings>`select @@innodb_flush_log_at_trx_commit as flush, @@innodb_doublewrite as pages`
      : sql<Settings>`select current_setting('fsync') as flush, current_setting('full_page_writes') as pages`;
  const { rows } = await database.read((db) => settings.execute(db));
  const { flush, pages } = rows[0] ?? {};
  const safe = kind === "mysql" ? "1" : "on";
  if (String(flush).toLowerCase() !== safe) {
    const setting = kind === "mysql" ? "innodb_flush_log_at_trx_commit" : "fsync";
    log.warn({ engine: name, setting, value: flush }, "a crash of the database's machine can lose committed pushes");
  }
  if (["0", "off"].includes(String(pages).toLowerCase())) {
    const setting = kind === "mysql" ? "innodb_doublewrite" : "full_page_writes";
    log.warn(
      { engine: name, setting, value: pages },
      "a crash of the database's machine can damage the metadata store",
    );
  }
}

interface Settings {
  readonly flush: string | number;
  readonly pages: string | number;
}
