/** A node dies at each step of a catch-up. */
import { runCrashTests } from "../crash-points/crash-test.ts";
import { catchUpTests } from "../crash-points/repair-tests.ts";

runCrashTests(catchUpTests);
