/** A disk that is full or read-only when a repository server starts: it is waited for, as the server would not stop for it either. */
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";

const retryMs = 1000;

/** Does the work again until the disk takes what it writes. Throws whatever else it throws. */
export async function onWritableDisk<T>(
  work: () => Promise<T>,
  { clock, log }: { clock: Clock; log: Logger },
): Promise<T> {
  for (let told = false; ; told = true) {
    try {
      return await work();
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      if (code !== "ENOSPC" && code !== "EROFS" && code !== "EDQUOT") throw error;
      if (!told) log.error({ error: messageOf(error) }, "waiting for the disk to take writes");
      await clock.sleep(retryMs);
    }
  }
}
