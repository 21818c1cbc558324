/** COMMITs without an answer on PostgreSQL. */
import { testDatabaseCommit } from "./database-commit.ts";

testDatabaseCommit("postgres", "PostgreSQL");
