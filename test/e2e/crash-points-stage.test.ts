/** A node dies at each step of staging a push. */
import { runCrashTests } from "../crash-points/crash-test.ts";
import { stageTests } from "../crash-points/node-push-tests.ts";

runCrashTests(stageTests);
