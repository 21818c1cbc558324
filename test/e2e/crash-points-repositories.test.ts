/** A controller dies at each step of creating, changing and deleting a repository. */
import { runCrashTests } from "../crash-points/crash-test.ts";
import { createTests, deleteTests, updateTests } from "../crash-points/repository-tests.ts";

runCrashTests([...createTests, ...updateTests, ...deleteTests]);
