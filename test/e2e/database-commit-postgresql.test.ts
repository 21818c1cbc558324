/** COMMITs without an answer on PostgreSQL: found out before the client is told anything. */
import { testDatabaseCommit } from "./database-commit.ts";

testDatabaseCommit("postgres", "PostgreSQL", "soon");
