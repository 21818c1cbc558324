/** What was started is ended, newest first: at the end, after a failure, and when the bench is interrupted. */
export class Cleanup {
  readonly #tasks: { readonly what: string; readonly task: () => void | Promise<void> }[] = [];
  #running: Promise<void> | undefined;

  add(what: string, task: () => void | Promise<void>): void {
    this.#tasks.push({ what, task });
  }

  /** Runs each task once, whatever the others do. Says what failed. */
  run(): Promise<void> {
    this.#running ??= this.#runAll();
    return this.#running;
  }

  async #runAll(): Promise<void> {
    for (let next = this.#tasks.pop(); next !== undefined; next = this.#tasks.pop()) {
      try {
        await next.task();
      } catch (error) {
        console.error(`bench: ${next.what}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  }
}
