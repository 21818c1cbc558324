/** COMMITs without an answer on MariaDB. */
import { testDatabaseCommit } from "./database-commit.ts";

testDatabaseCommit("mariadb", "MariaDB");
