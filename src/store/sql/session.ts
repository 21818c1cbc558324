/** One connection to a database, whichever it is. The pool (pool.ts) hands sessions out. */
export interface SessionResult {
  readonly rows: readonly unknown[];
  /** Of an insert, update or delete. */
  readonly affectedRows: number | undefined;
}

export interface Session {
  /** True when it can not be used any more: it is closed rather than handed out again. */
  readonly broken: boolean;
  /** Rejects with ConnectionLostError when the answer is not the database's own. */
  execute(sql: string, parameters: readonly unknown[]): Promise<SessionResult>;
  /** Closes at once; what is under way is not waited for. Never throws. */
  close(): void;
}

/** The database did not answer: whether it did what it was asked is unknown. */
export class ConnectionLostError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "ConnectionLostError";
  }
}

export function connectionLost(cause: unknown): ConnectionLostError {
  if (cause instanceof ConnectionLostError) return cause;
  return new ConnectionLostError(cause instanceof Error ? cause.message : String(cause), cause);
}
