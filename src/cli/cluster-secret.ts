/** The cluster's secret of `gitmesh up`: made once, kept in the data directory, readable by its owner alone. */
import { randomBytes } from "node:crypto";
import { chmodSync, linkSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fsyncDirectory } from "../base/durable-directory.ts";

/** 256 bits. */
const secretBytes = 32;

/** Throws one sentence when the file holds no secret. */
export function readOrMakeSecret(path: string): string {
  const building = `${path}.${process.pid}.new`;
  writeFileSync(building, `${randomBytes(secretBytes).toString("base64url")}\n`, { mode: 0o600, flush: true });
  try {
    // Never replaces one that is there.
    linkSync(building, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    rmSync(building, { force: true });
  }
  chmodSync(path, 0o600);
  fsyncDirectory(dirname(path));
  const secret = readFileSync(path, "utf8").trim();
  if (secret.length < 16) throw new Error(`${path} holds no secret of 16 characters or more.`);
  return secret;
}
