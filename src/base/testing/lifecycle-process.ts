/** A process with a Lifecycle, for lifecycle.test.ts. Its argument says how it behaves. */
import { systemClock } from "../clock.ts";
import { Lifecycle } from "../lifecycle.ts";
import { createLogger } from "../log.ts";

const [behaviour = "", shutdownMs = "60000"] = process.argv.slice(2);
const lifecycle = new Lifecycle({
  log: createLogger("test", "info"),
  clock: systemClock,
  shutdownMs: Number(shutdownMs),
  close: async () => {
    if (behaviour === "stuck") await new Promise(() => {});
    if (behaviour === "failing") throw new Error("cannot close");
    process.stdout.write("closed\n");
  },
});
// Something that keeps the process alive, as a server's socket does.
setInterval(() => {}, 1000);
process.stdout.write("running\n");
if (behaviour === "throwing") setImmediate(() => assertNever());
if (behaviour === "rejecting") void Promise.reject(new Error("a bug"));
if (behaviour === "failed") lifecycle.fail("the disk is gone");
process.exit(await lifecycle.ended);

function assertNever(): never {
  throw new Error("a bug");
}
