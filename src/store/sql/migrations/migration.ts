/** What a schema migration is. */
import type { Engine } from "../engine.ts";

/** One step of the schema. Released ones never change: a mistake is mended by the next. */
export interface Migration {
  readonly name: string;
  /**
   * Statements in order. MySQL commits each by itself, so each must bear being run again after a crash between two
   * of them.
   */
  statements(kind: Engine["kind"]): readonly string[];
}
