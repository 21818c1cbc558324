/** COMMITs without an answer on MariaDB: found out before the client is told anything. */
import { testDatabaseCommit } from "./database-commit.ts";

testDatabaseCommit("mariadb", "MariaDB", "soon");
