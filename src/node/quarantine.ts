/**
 * New objects on trial: a directory of their own, beside the replica's object store, that git writes to. They become
 * the replica's when they are found good, and else vanish. As git's own tmp-objdir.
 */
import { randomBytes } from "node:crypto";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { crashPoint } from "../base/crash-point.ts";
import { syncDirectory } from "./durable-file.ts";

/** An index makes its pack visible, so it comes last. */
const order = [".pack", ".rev", ".idx"];

/** Those that are there now, by their path: resolves when one is gone. */
const open = new Map<string, { readonly gone: Promise<void>; readonly settle: () => void }>();

/** Resolves when no quarantine of the replicas below this directory is left: a server that stops leaves none behind. */
export async function quarantinesGone(directory: string): Promise<void> {
  const below = [...open].filter(([path]) => path.startsWith(`${resolve(directory)}/`)).map(([, { gone }]) => gone);
  await Promise.all(below);
}

export class Quarantine {
  /** Makes git read and write here, and read the replica's objects besides. */
  readonly env: Readonly<Record<string, string>>;
  readonly path: string;
  readonly #packs: string;

  private constructor(directory: string, name: string) {
    this.env = {
      GIT_OBJECT_DIRECTORY: name,
      GIT_ALTERNATE_OBJECT_DIRECTORIES: "objects",
      GIT_QUARANTINE_PATH: name,
    };
    this.path = join(directory, name);
    this.#packs = join(directory, "objects", "pack");
  }

  /** `directory` is the replica's. leftovers.ts removes what a killed server leaves. */
  static async open(directory: string): Promise<Quarantine> {
    const name = join("objects", `tmp_objdir-incoming-${randomBytes(8).toString("hex")}`);
    const quarantine = new Quarantine(directory, name);
    // Not with their parents: a replica that was moved aside a moment ago must not be begun anew by accident.
    await mkdir(quarantine.path);
    await mkdir(join(quarantine.path, "pack"));
    const { promise: gone, resolve: settle } = Promise.withResolvers<void>();
    open.set(resolve(quarantine.path), { gone, settle });
    return quarantine;
  }

  /** The packs that git has made here, as paths without their suffix. */
  async packs(): Promise<string[]> {
    const from = join(this.path, "pack");
    const files = (await readdir(from)).filter((name) => name.startsWith("pack-") && name.endsWith(".idx"));
    return files.map((name) => join(from, name.slice(0, -".idx".length)));
  }

  /** Moves the packs, which are fsynced, into the object store; durable when it resolves, with their names. */
  async migrate(): Promise<string[]> {
    const from = join(this.path, "pack");
    const files = (await readdir(from)).filter((name) => name.startsWith("pack-"));
    await mkdir(this.#packs, { recursive: true });
    // Packs are named by their content: one that is there already is the same, and is replaced by itself.
    for (const suffix of order) {
      for (const name of files) {
        if (!name.endsWith(suffix)) continue;
        await rename(join(from, name), join(this.#packs, name));
        crashPoint("quarantine.file-moved");
      }
    }
    crashPoint("quarantine.moved");
    // Also without files: what was not sent again may have been moved there a moment ago by somebody else.
    await syncDirectory(this.#packs);
    crashPoint("quarantine.synced");
    return files.filter((name) => name.endsWith(".pack")).map((name) => name.slice(0, -".pack".length));
  }

  async discard(): Promise<void> {
    try {
      await rm(this.path, { recursive: true, force: true });
    } finally {
      const path = resolve(this.path);
      open.get(path)?.settle();
      open.delete(path);
    }
    crashPoint("quarantine.discarded");
  }
}
