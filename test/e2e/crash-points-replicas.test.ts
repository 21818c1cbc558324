/** A node dies at each step of making, changing and removing a replica. */
import { runCrashTests } from "../crash-points/crash-test.ts";
import { replicaTests } from "../crash-points/node-repository-tests.ts";

runCrashTests(replicaTests);
