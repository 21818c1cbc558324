import { runEngineTests } from "../crash-points/engine-tests.ts";

runEngineTests("postgres", "PostgreSQL");
