/** Two controllers on PostgreSQL. */
import { testTwoControllers } from "./two-controllers.ts";

testTwoControllers("postgres", "PostgreSQL");
