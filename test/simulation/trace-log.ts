/** The log of a simulated process: lines of the trace. */
import type { Logger } from "../../src/base/log.ts";
import type { Process } from "./process.ts";

export function traceLog(process: Process): Logger {
  const { sim } = process;
  const write =
    (level: string) =>
    (fields: unknown, message?: string): void => {
      if (!sim.isTraced) return;
      const text = typeof fields === "string" ? fields : `${message ?? ""} ${textOf(fields)}`;
      sim.trace(`${process.name} ${level}: ${text}`);
    };
  const log = {
    trace: () => {},
    debug: write("debug"),
    info: write("info"),
    warn: write("warn"),
    error: write("error"),
    fatal: write("fatal"),
    child: () => log,
  };
  return log as unknown as Logger;
}

/** Without stacks, which are of no use in a trace. */
function textOf(fields: unknown): string {
  return JSON.stringify(fields, (_key, value: unknown) => (value instanceof Error ? value.message : value));
}
