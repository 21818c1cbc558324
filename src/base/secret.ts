/** The cluster secret: one value, or two separated by a comma while it is changed. */
import { createHash, timingSafeEqual } from "node:crypto";

/** The one that is sent. */
export function firstSecret(setting: string): string {
  return setting.split(",")[0]?.trim() ?? "";
}

/** Whether `given` is one of the accepted secrets, in a time that does not depend on where they differ. */
export function isAcceptedSecret(setting: string, given: string): boolean {
  const digest = createHash("sha256").update(given).digest();
  let accepted = false;
  for (const secret of setting.split(",")) {
    const expected = createHash("sha256").update(secret.trim()).digest();
    if (timingSafeEqual(expected, digest)) accepted = true;
  }
  return accepted;
}
