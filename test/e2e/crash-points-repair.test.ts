/** A controller dies at each step of the background work on replicas. */
import { runCrashTests } from "../crash-points/crash-test.ts";
import { repairTests } from "../crash-points/repair-tests.ts";

runCrashTests(repairTests);
