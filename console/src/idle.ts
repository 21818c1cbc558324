/** When there is nothing to do for what a person waits for. */
const latestMs = 2000;
const withoutIdleMs = 300;

export function whenIdle(act: () => void): void {
  // Safari has no such thing.
  if ("requestIdleCallback" in window) window.requestIdleCallback(act, { timeout: latestMs });
  else setTimeout(act, withoutIdleMs);
}
