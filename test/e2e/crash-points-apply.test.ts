/** A node dies at each step of applying a push. */
import { runCrashTests } from "../crash-points/crash-test.ts";
import { applyTests } from "../crash-points/node-push-tests.ts";

runCrashTests(applyTests);
