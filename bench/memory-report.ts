/** Memory of gitmesh's server processes, the git that they run apart: idle, and the highest in any row. Pure. */
import { megabytes, table } from "./report.ts";

const idleMaxBytes = 120e6;
const peakMaxBytes = 300e6;

export interface ServerMemory {
  readonly server: string;
  readonly idleBytes: number;
}

/** As in "controller" or "node (forks git)", from a command line. */
export function serverName(command: string): string {
  if (/git-forker\.ts/.test(command)) return "forks git";
  return /main\.ts (\w+)/.exec(command)?.[1] ?? command;
}

export function memoryTable(servers: readonly ServerMemory[], highestBytes: number, highestRow: string): string {
  return [
    table(
      ["server process", "idle MB", `target ${megabytes(idleMaxBytes)}`],
      servers.map(({ server, idleBytes }) => [server, megabytes(idleBytes), verdict(idleBytes, idleMaxBytes)]),
    ),
    "",
    `Highest of any server process in any row: ${megabytes(highestBytes)} MB (${highestRow}); ` +
      `target ${megabytes(peakMaxBytes)}: ${verdict(highestBytes, peakMaxBytes)}.`,
  ].join("\n");
}

export function memoryMissed(servers: readonly ServerMemory[], highestBytes: number): string[] {
  return [
    ...servers
      .filter(({ idleBytes }) => idleBytes > idleMaxBytes)
      .map(({ server, idleBytes }) => `memory of ${server}, idle: ${megabytes(idleBytes)} MB`),
    ...(highestBytes > peakMaxBytes ? [`memory of a server process, highest: ${megabytes(highestBytes)} MB`] : []),
  ];
}

function verdict(bytes: number, most: number): string {
  return bytes <= most ? "met" : "MISSED";
}
