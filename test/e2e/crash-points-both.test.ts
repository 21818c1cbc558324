/** Controller and nodes die in one operation. */
import { runCrashTests } from "../crash-points/crash-test.ts";
import { bothTests } from "../crash-points/both-tests.ts";

runCrashTests(bothTests);
