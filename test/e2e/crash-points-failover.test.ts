/** A controller dies at each step of replacing a replica whose node is gone. */
import { runCrashTests } from "../crash-points/crash-test.ts";
import { failoverTests } from "../crash-points/failover-tests.ts";

runCrashTests(failoverTests, { nodes: 4, env: { GITMESH_REPAIR_GRACE_MS: "6000" } });
