/** The long answers of node-api.ts: JSON lines with signs of life while the work goes on, and the result at the end. */
import { PassThrough, type Readable } from "node:stream";
import type { Clock } from "../base/clock.ts";
import { keepAliveMs, type ProgressLine } from "../protocol/node-api.ts";

/**
 * Begins the answer at once and runs `work`, whose result is its last line. When `work` rejects the answer breaks off,
 * which the caller takes as a node that failed; `onFailure` is told why.
 */
export function progressAnswer<R>(
  clock: Clock,
  work: (onProgress: (text: string) => void) => Promise<R>,
  onFailure: (error: unknown) => void,
): Readable {
  const stream = new PassThrough();
  const say = (line: ProgressLine<R>): void => {
    if (!stream.destroyed && !stream.writableEnded) stream.write(`${JSON.stringify(line)}\n`);
  };
  // Who does not read misses progress, not memory.
  const mention = (line: ProgressLine<R>): void => {
    if (!stream.writableNeedDrain) say(line);
  };
  let cancel = (): void => {};
  const beat = (): void => {
    mention({ alive: true });
    cancel = clock.timer(keepAliveMs, beat);
  };
  beat();
  stream.on("error", () => {});
  void work((progress) => mention({ progress })).then(
    (result) => {
      cancel();
      say({ result });
      stream.end();
    },
    (error: unknown) => {
      cancel();
      onFailure(error);
      stream.destroy();
    },
  );
  return stream;
}
