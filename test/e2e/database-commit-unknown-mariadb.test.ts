/** COMMITs without an answer on MariaDB, which stays away: the client is told that it is not known. */
import { testDatabaseCommit } from "./database-commit.ts";

testDatabaseCommit("mariadb", "MariaDB", "late");
