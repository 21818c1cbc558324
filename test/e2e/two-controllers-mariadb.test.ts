/** Two controllers on MariaDB. */
import { testTwoControllers } from "./two-controllers.ts";

testTwoControllers("mariadb", "MariaDB");
