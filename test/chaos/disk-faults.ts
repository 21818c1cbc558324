/** Faults of the nodes' disks. Each disk is a small tmpfs. */
import { spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  ftruncateSync,
  globSync,
  openSync,
  readFileSync,
  readdirSync,
  readSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { exitOf } from "../support/processes.ts";
import { waitFor, within } from "../support/wait.ts";
import type { Fault, Stage } from "./nemesis.ts";
import { run } from "./servers.ts";

const remountLimitMs = 5000;
const straceLimitMs = 30_000;
/** What the node may write while the disk is being filled. */
const roomToRaceBytes = 32 * 1024 * 1024;
const readyLimitMs = 120_000;
const healedLimitMs = 60_000;

function pickNode({ servers, random, claim }: Stage): string | undefined {
  return random.shuffled(servers.nodes).find((node) => claim(node));
}

const fullDisk: Fault = {
  kind: "full-disk",
  run: async (stage) => {
    const node = pickNode(stage);
    if (node === undefined) return false;
    const filler = join(stage.servers.disk(node), "filler");
    // Sometimes a little is left, which is used up in the middle of something.
    const leftBytes = stage.random.pick([0, 0, 20_000, 500_000]);
    stage.say(`the disk of ${node} is full but for ${leftBytes} bytes`);
    try {
      fill(stage.servers.disk(node), filler, leftBytes);
      await stage.hold(2000, 8000);
    } finally {
      rmSync(filler, { force: true });
      stage.say(`the disk of ${node} has room again`);
    }
    return true;
  },
};

/** To the last byte, whatever the node writes meanwhile; then gives `leftBytes` back. */
function fill(disk: string, filler: string, leftBytes: number): void {
  const { bavail, bsize } = statfsSync(disk);
  const file = openSync(filler, "w");
  try {
    run("fallocate", "-l", String(Math.max(bsize, bavail * bsize - roomToRaceBytes)), filler);
    let end = statSync(filler).size;
    for (let length = roomToRaceBytes; length > 0;) {
      try {
        end += writeSync(file, Buffer.alloc(length), 0, length, end);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
        length = Math.floor(length / 2);
      }
    }
    ftruncateSync(file, Math.max(0, end - leftBytes));
  } finally {
    closeSync(file);
  }
}

const readOnlyDisk: Fault = {
  kind: "read-only-disk",
  run: async (stage) => {
    const node = pickNode(stage);
    if (node === undefined) return false;
    const disk = stage.servers.disk(node);
    // Refused while a file is open for writing.
    const remounted = await waitFor(() => (run("mount", "-o", "remount,ro", disk), true), {
      what: "the disk to be read-only",
      limitMs: remountLimitMs,
    }).catch(() => false);
    if (!remounted) return false;
    stage.say(`the disk of ${node} is read-only`);
    try {
      await stage.hold(2000, 8000);
    } finally {
      run("mount", "-o", "remount,rw", disk);
      stage.say(`the disk of ${node} can be written to again`);
    }
    return true;
  },
};

const slowDisk: Fault = {
  kind: "slow-disk",
  run: async (stage) => {
    const node = pickNode(stage);
    if (node === undefined) return false;
    const delayMs = stage.random.pick([20, 100, 500]);
    const calls = "fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat";
    const args = [
      "-f",
      "-qq",
      "-o",
      "/dev/null",
      "-e",
      `trace=${calls}`,
      `--inject=${calls}:delay_enter=${delayMs * 1000}`,
    ];
    stage.say(`the disk of ${node} takes ${delayMs} ms longer for each sync and change of a directory`);
    const child = spawn("strace", [...args, ...stage.servers.processes(node).flatMap((pid) => ["-p", String(pid)])], {
      stdio: "ignore",
    });
    const exited = exitOf(child);
    try {
      await stage.hold(2000, 7000);
    } finally {
      child.kill("SIGTERM");
      await within(straceLimitMs, "strace to let go", exited);
      stage.say(`the disk of ${node} is as fast as before`);
    }
    return true;
  },
};

/** The node's disk is replaced by an empty one. */
const emptiedDisk: Fault = {
  kind: "emptied-disk",
  destroys: true,
  run: async (stage) => {
    const node = pickNode(stage);
    if (node === undefined) return false;
    stage.say(`the disk of ${node} is replaced by an empty one`);
    await stage.servers.kill(node);
    await waitFor(() => stage.servers.processes(node).length === 0, { what: `what ${node} ran to end` });
    const disk = stage.servers.disk(node);
    for (const entry of readdirSync(disk)) rmSync(join(disk, entry), { recursive: true });
    stage.servers.start(node);
    // From here on the cluster knows that its replicas are gone.
    await stage.servers.waitReady(node, readyLimitMs);
    stage.say(`${node} is back`);
    await stage.hold(0, 0);
    return true;
  },
};

/** Damage to one replica of one repository, which the cluster is then to find and to heal. */
function damage(kind: string, harm: (stage: Stage, gitDirectory: string) => string | undefined): Fault {
  return {
    kind,
    destroys: true,
    run: async (stage) => {
      const node = pickNode(stage);
      if (node === undefined) return false;
      const found = await stage.replicas.onNode(node);
      const chosen = stage.random.shuffled(found).find(({ directory }) => existsSync(directory));
      if (chosen === undefined) return false;
      const isOver = stage.replicas.noteDamage(chosen.name);
      const what = harm(stage, chosen.directory);
      if (what === undefined) {
        isOver();
        return false;
      }
      stage.say(`${what} in ${chosen.name} on ${node} (${chosen.directory})`);
      await stage.hold(1000, 6000);
      await stage.replicas.waitSound(chosen.name, stage.end, healedLimitMs);
      stage.say(`${chosen.name} is sound again`);
      isOver();
      return true;
    },
  };
}

const bitRot = damage("bit-rot", ({ random }, gitDirectory) => {
  const packs = globSync("objects/pack/*.pack", { cwd: gitDirectory });
  if (packs.length === 0) return undefined;
  const pack = join(gitDirectory, random.pick(packs.toSorted()));
  const size = statSync(pack).size;
  const file = openSync(pack, "r+");
  const flips = random.between(1, 4);
  for (let flip = 0; flip < flips; flip += 1) {
    const byte = Buffer.alloc(1);
    const at = random.between(0, size - 1);
    readSync(file, byte, 0, 1, at);
    byte[0] = (byte[0] ?? 0) ^ (1 << random.between(0, 7));
    writeSync(file, byte, 0, 1, at);
  }
  closeSync(file);
  return `${flips} flipped bits in ${pack.slice(-30)}`;
});

const lostPack = damage("lost-pack", ({ random }, gitDirectory) => {
  const packs = globSync("objects/pack/*.pack", { cwd: gitDirectory });
  if (packs.length === 0) return undefined;
  const pack = join(gitDirectory, random.pick(packs.toSorted()));
  for (const file of globSync(pack.replace(/pack$/, "*"))) rmSync(file);
  return `${pack.slice(-30)} is gone`;
});

const lostRef = damage("lost-ref", ({ random }, gitDirectory) => {
  const packed = join(gitDirectory, "packed-refs");
  if (existsSync(packed) && random.chance(0.3)) {
    writeFileSync(packed, readFileSync(packed, "latin1").replace(/^[0-9a-f]{40} refs/m, "!$&"), "latin1");
    return "packed-refs cannot be read";
  }
  const refs = globSync("refs/**/*", { cwd: gitDirectory }).filter((ref) => statSync(join(gitDirectory, ref)).isFile());
  if (refs.length === 0) return undefined;
  const ref = random.pick(refs.toSorted());
  if (random.chance(0.5)) {
    rmSync(join(gitDirectory, ref));
    return `${ref} is gone`;
  }
  writeFileSync(join(gitDirectory, ref), "");
  return `${ref} is empty`;
});

export const diskFaults: readonly Fault[] = [fullDisk, readOnlyDisk, slowDisk, emptiedDisk, bitRot, lostPack, lostRef];
