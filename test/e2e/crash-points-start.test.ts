/** A node dies at each step of its start. */
import { runCrashTests } from "../crash-points/crash-test.ts";
import { startTests } from "../crash-points/node-repository-tests.ts";

runCrashTests(startTests);
