/** What must hold of a replica's directory after a power loss, seen with plain git while nothing runs. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** What the store knows of the repository and of this replica. */
export interface ReplicaKnown {
  readonly ready: boolean;
  /** The generation that it has confirmed. */
  readonly confirmed: number;
  readonly generation: number;
  readonly refs: ReadonlyMap<string, string>;
  /** By generation, what each changed; undefined: deleted. */
  readonly log: ReadonlyMap<number, readonly (readonly [string, string | undefined])[]>;
}

const oidCharacters = 40;
const checksumBytes = 20;

/** What does not hold, in words. */
export async function brokenReplica(directory: string, known: ReplicaKnown): Promise<string[]> {
  const recorded = recordedGeneration(directory);
  if (recorded === undefined) return ["its record cannot be read"];
  const broken: string[] = [];
  if (recorded < known.confirmed) broken.push(`it confirmed generation ${known.confirmed} and records ${recorded}`);
  if (recorded > known.generation) {
    broken.push(`it records generation ${recorded}, ahead of the store's ${known.generation}`);
  }
  broken.push(...brokenPacks(directory));
  const list = await git(directory, ["for-each-ref", "--format=%(objectname) %(refname)"]);
  if (list.code !== 0) return [...broken, `its refs cannot be read: ${firstLine(list.stderr)}`];
  const lines = list.stdout.split("\n").filter((line) => line !== "");
  const refs = new Map(lines.map((line) => [line.slice(oidCharacters + 1), line.slice(0, oidCharacters)]));
  // Refs vouch for their objects, since a fetch asks for none of those again; without a generation they are not believed.
  const vouching = recorded < 0 ? [] : [...refs.values()];
  broken.push(...(await missingObjects(directory, [...(known.ready ? known.refs.values() : []), ...vouching])));
  if (recorded >= 0 && recorded <= known.generation) broken.push(...wrongRefs(refs, recorded, known));
  return broken;
}

function recordedGeneration(directory: string): number | undefined {
  try {
    return (JSON.parse(readFileSync(join(directory, "gitmesh.json"), "utf8")) as { generation: number }).generation;
  } catch {
    return undefined;
  }
}

/** Pack and index end with the checksum of what is before it (gitformat-pack). */
function brokenPacks(directory: string): string[] {
  const packs = join(directory, "objects", "pack");
  if (!existsSync(packs)) return ["it has no objects/pack"];
  return readdirSync(packs)
    .filter((file) => file.startsWith("pack-") && file.endsWith(".idx"))
    .flatMap((file) => [file, file.replace(/idx$/, "pack")])
    .filter((file) => {
      if (!existsSync(join(packs, file))) return true;
      const content = readFileSync(join(packs, file));
      const sum = createHash("sha1").update(content.subarray(0, -checksumBytes)).digest();
      return !sum.equals(content.subarray(-checksumBytes));
    })
    .map((file) => `${file} is damaged`);
}

async function missingObjects(directory: string, oids: readonly string[]): Promise<string[]> {
  if (oids.length === 0) return [];
  const walk = await git(directory, ["rev-list", "--objects", "--quiet", "--stdin"], [...new Set(oids)].join("\n"));
  return walk.code === 0 ? [] : [`objects are missing: ${firstLine(walk.stderr)}`];
}

/**
 * The refs on disk, with the log from the recorded generation on, must be the store's: those that git cannot read are
 * in that log.
 */
function wrongRefs(onDisk: ReadonlyMap<string, string>, recorded: number, known: ReplicaKnown): string[] {
  const refs = new Map<string, string | undefined>(onDisk);
  for (let next = recorded + 1; next <= known.generation; next += 1) {
    for (const [name, oid] of known.log.get(next) ?? []) refs.set(name, oid);
  }
  const names = new Set([...refs.keys(), ...known.refs.keys()]);
  const differing = [...names].filter((name) => refs.get(name) !== known.refs.get(name));
  return differing
    .slice(0, 3)
    .map((name) => `${name} is ${refs.get(name)} and not ${known.refs.get(name)}, from generation ${recorded} on`);
}

function firstLine(text: string): string {
  return text.split("\n")[0] ?? "";
}

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function git(directory: string, args: readonly string[], input = ""): Promise<Ended> {
  return new Promise((resolve) => {
    const env = {
      PATH: process.env["PATH"],
      GIT_DIR: directory,
      GIT_CONFIG_NOSYSTEM: "1",
      HOME: directory,
      LC_ALL: "C",
    };
    const child = execFile("git", args, { env, cwd: directory, encoding: "latin1" }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), stdout, stderr }),
    );
    // git may end before it has read everything.
    child.stdin?.on("error", () => {});
    child.stdin?.end(`${input}\n`);
  });
}
