/** Structured logs: JSON lines on standard output, one object an event. */
import pino from "pino";

export type Logger = pino.Logger;

/** `name` says which server speaks, as in "controller-1". */
export function createLogger(name: string, level: string): Logger {
  return pino({ name, level, base: { name }, timestamp: pino.stdTimeFunctions.isoTime });
}
