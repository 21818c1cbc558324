/** A node dies at each step of its start. */
import { runCrashTests } from "../crash-points/crash-test.ts";
import { startTests } from "../crash-points/node-repository-tests.ts";

// What is deleted is soon gone for good.
runCrashTests(startTests, { env: { GITMESH_DELETED_KEEP_MS: "1" } });
