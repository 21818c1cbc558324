/** A controller dies at each step of a push: it is wholly there or wholly not. */
import { runCrashTests } from "../crash-points/crash-test.ts";
import { pushTests } from "../crash-points/push-tests.ts";

runCrashTests(pushTests);
