/** MariaDB fails and comes back. */
import { testDatabaseOutage } from "./database-outage.ts";

testDatabaseOutage("mariadb", "MariaDB");
