/** COMMITs without an answer on PostgreSQL, which stays away: the client is told that it is not known. */
import { testDatabaseCommit } from "./database-commit.ts";

testDatabaseCommit("postgres", "PostgreSQL", "late");
