/** What a run of chaos needs of the machine. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fakeTimeLibrary } from "./servers.ts";

/** In words; empty when all is there. */
export function missingForChaos(): string[] {
  const programs: [what: string, program: string, ...args: string[]][] = [
    ["strace", "strace", "--version"],
    ["ip (iproute2)", "ip", "-V"],
    ["namespaces and mounts of its own (root)", "unshare", "--mount", "--net", "true"],
  ];
  return [
    ...programs
      .filter(([, program, ...args]) => spawnSync(program, args, { stdio: "ignore" }).status !== 0)
      .map(([what]) => what),
    ...(existsSync(fakeTimeLibrary) ? [] : ["libfaketime (faketime)"]),
  ];
}
